"""What docs/speed.md says of pairs that share their noise: N^2 of them have the gradient of N disjoint ones."""

import torch

from components.settings import DP2OObjective
from components.train.objectives import objective_of
from components.train.pairs import Pairs


def gradient(couples: list[tuple[int, int]]) -> torch.Tensor:
    winner, loser = (torch.tensor(side) for side in zip(*couples, strict=True))
    ones = torch.ones(len(couples))
    policy = torch.linspace(0.1, 0.4, 8, dtype=torch.float64).requires_grad_()
    result = objective_of(DP2OObjective(beta=5000.0))(policy, policy.detach(), Pairs(winner, loser, ones, ones))
    result.losses.mean().backward()
    assert policy.grad is not None
    return policy.grad


def test_where_z_is_zero_all_pairs_of_a_group_have_the_gradient_of_its_disjoint_ones() -> None:
    everyone = gradient([(winner, loser) for winner in range(4) for loser in range(4, 8)])
    disjoint = gradient([(0, 7), (1, 5), (2, 4), (3, 6)])
    torch.testing.assert_close(everyone, disjoint, rtol=1e-12, atol=0)
    assert everyone.abs().min() > 0
