"""The loss against numbers worked by hand, and against four network calls a pair."""

import math

import pytest
import torch
from torch import Tensor

from components.backbones.base import Condition
from components.settings import OBJECTIVE_KINDS, DP2OObjective, WinnersOnlyObjective
from components.train.objectives import OBJECTIVES
from components.train.objectives.dp2o import dp2o
from components.train.objectives.winners_only import winners_only
from components.train.pairs import Pairs, reward_margin
from tests.made import tiny_model
from tests.train.rig import DoubleFlow, double_model

BETA = 5000.0
PREFERENCE = DP2OObjective(beta=BETA)


def pairs(winner: list[int], loser: list[int], weight: list[float]) -> Pairs:
    return Pairs(torch.tensor(winner), torch.tensor(loser), torch.tensor(weight), torch.ones(len(weight)))


def test_golden_pair() -> None:
    policy = torch.tensor([0.1010, 0.1030], dtype=torch.float64)
    reference = torch.tensor([0.1015, 0.1020], dtype=torch.float64)
    one = pairs([0], [1], [1.0])
    assert reward_margin(policy, reference, one, BETA).tolist() == pytest.approx([3.75], abs=1e-9)
    result = dp2o(policy, reference, one, PREFERENCE)
    assert result.losses.tolist() == pytest.approx([0.0232455], abs=1e-7)
    assert result.margins.tolist() == pytest.approx([3.75], abs=1e-9)
    swapped = dp2o(policy, reference, pairs([1], [0], [1.0]), PREFERENCE)
    assert swapped.losses.tolist() == pytest.approx([3.75 + 0.0232455], abs=1e-7)


def test_weights_multiply_the_losses_and_take_no_gradient() -> None:
    policy = torch.tensor([0.1010, 0.1030, 0.1], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([0.1015, 0.1020, 0.1], dtype=torch.float64)
    plain = dp2o(policy, reference, pairs([0, 2], [1, 1], [1.0, 1.0]), PREFERENCE)
    weighted = dp2o(policy, reference, pairs([0, 2], [1, 1], [1.5, 0.25]), PREFERENCE)
    assert weighted.losses.tolist() == pytest.approx([1.5 * plain.losses[0].item(), 0.25 * plain.losses[1].item()])
    assert weighted.margins.tolist() == plain.margins.tolist()
    assert not weighted.margins.requires_grad


def test_gradient_by_hand() -> None:
    """d loss / d e_w = w * beta / 2 * sigmoid(-z), and the opposite for the loser."""
    policy = torch.tensor([0.1010, 0.1030], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([0.1015, 0.1020], dtype=torch.float64)
    dp2o(policy, reference, pairs([0], [1], [1.5]), PREFERENCE).losses.sum().backward()
    expected = 1.5 * BETA / 2 / (1 + math.exp(3.75))
    assert policy.grad is not None
    assert policy.grad.tolist() == pytest.approx([expected, -expected])


def test_large_margins_neither_overflow_nor_vanish() -> None:
    policy = torch.tensor([5.0, 0.0], requires_grad=True)
    result = dp2o(policy, torch.zeros(2), pairs([0], [1], [1.0]), PREFERENCE)
    assert result.losses.tolist() == [12500.0]
    result.losses.sum().backward()
    assert policy.grad is not None
    assert policy.grad.tolist() == [2500.0, -2500.0]


def test_at_step_0_every_loss_is_ln_2() -> None:
    """Through the real network, in float32: policy and reference agree to the last bit."""
    model = tiny_model()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 32, 32, generator=generator)
    condition = model.condition(torch.rand(1, 3, 8, 8, generator=generator), ("",)).repeat(6)
    noise = torch.randn(1, 3, 32, 32, generator=generator).expand(6, -1, -1, -1)
    for t in (0.05, 0.5, 1.0):
        times = torch.full((6,), t)
        policy = model.error(images, condition, times, noise, "policy")
        reference = model.error(images, condition, times, noise, "reference")
        assert policy.std() > 0
        every = pairs([i for i in range(6) for _ in range(6)], [*range(6)] * 6, [1.0] * 36)
        losses = dp2o(policy, reference, every, PREFERENCE).losses
        assert losses.tolist() == pytest.approx([math.log(2.0)] * 36, abs=1e-7)


def errors(
    model: DoubleFlow, images: Tensor, condition: Condition, t: Tensor, noise: Tensor, rows: list[int]
) -> tuple[Tensor, Tensor]:
    """Errors of the given images by policy and reference, each in a call of its own."""
    arguments = (images[rows], condition.repeat(len(rows)), t.expand(len(rows)), noise.expand(len(rows), -1, -1, -1))
    return model.error(*arguments, "policy"), model.error(*arguments, "reference")


def gradient(model: DoubleFlow) -> Tensor:
    collected = torch.cat([p.grad.flatten() for p in model.policy.parameters() if p.grad is not None])
    model.policy.zero_grad()
    return collected


@pytest.mark.parametrize("top", [1, 3])
def test_the_group_loss_is_the_pair_by_pair_loss(top: int) -> None:
    """2N policy and 2N reference errors against four network calls for each of the N^2 pairs: value and gradient."""
    model = double_model()
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2 * top, 3, 32, 32, generator=generator, dtype=torch.float64)
    condition = model.condition(torch.rand(1, 3, 8, 8, generator=generator), ("",))
    t = torch.tensor([0.4], dtype=torch.float64)
    noise = torch.randn(1, 3, 32, 32, generator=generator, dtype=torch.float64)
    weight = torch.rand(top * top, generator=generator, dtype=torch.float64) + 0.5
    winner = [w for w in range(top) for _ in range(top)]
    loser = [top + i for _ in range(top) for i in range(top)]
    beta = 50.0  # a random network's errors are large: margins of both signs, neither saturated

    policy, reference = errors(model, images, condition, t, noise, list(range(2 * top)))
    group = Pairs(torch.tensor(winner), torch.tensor(loser), weight, torch.ones(len(weight)))
    group_losses = dp2o(policy, reference, group, DP2OObjective(beta=beta)).losses
    group_losses.mean().backward()
    group_gradient = gradient(model)

    explicit = []
    for place in range(top * top):
        policy_w, reference_w = errors(model, images, condition, t, noise, [winner[place]])
        policy_l, reference_l = errors(model, images, condition, t, noise, [loser[place]])
        inside = -(beta / 2) * ((policy_w - policy_l) - (reference_w - reference_l))
        explicit.append(weight[place] * torch.log1p(torch.exp(-inside)))
    pair_losses = torch.cat(explicit)
    pair_losses.mean().backward()
    pair_gradient = gradient(model)

    assert torch.allclose(group_losses, pair_losses, atol=1e-9)
    assert (group_losses / weight - math.log(2.0)).abs().max() > 1e-3
    assert (group_gradient - pair_gradient).abs().max() <= 1e-6 * pair_gradient.abs().max()


def test_winners_only_is_plain_fine_tuning() -> None:
    policy = torch.tensor([0.2, 0.4, 0.8], requires_grad=True)
    result = winners_only(policy, torch.zeros(3), pairs([2, 0], [-1, -1], [1.5, 0.5]), WinnersOnlyObjective())
    assert result.losses.tolist() == pytest.approx([1.2, 0.1])
    assert result.margins.tolist() == [0.0, 0.0]
    result.losses.sum().backward()
    assert policy.grad is not None
    assert policy.grad.tolist() == [0.5, 0.0, 1.5]


def test_a_row_a_kind_of_the_settings() -> None:
    assert {kind: row.settings for kind, row in OBJECTIVES.items()} == OBJECTIVE_KINDS
