"""Pairs a second: a group's N^2 pairs from 2N + 2N errors, against Diffusion-DPO pair by pair.

The peer is what public training code does: every pair draws its own t and noise, which winner and loser share, and
costs the policy's error of winner and loser and the reference's of both, which is four passes of an image through a
network. A batch of pairs goes through together; both contenders include the backward pass.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.parts import model
from benchmarks.timing import Comparison, Contender, compare, interleaved
from components.backbones.base import Condition
from components.backbones.tiny_flow import TinyFlow
from components.settings import DP2OObjective
from components.train.objectives.dp2o import dp2o
from components.train.pairs import Pairs

BETA = 5000.0
TARGET = 6.0


def group_step(network: TinyFlow, images: Tensor, condition: Condition) -> Tensor:
    """Loss of all N^2 pairs of a group `[2N, 3, H, W]`, winners first, and its gradient, as the trainer does."""
    half = len(images) // 2
    positions = torch.cartesian_prod(torch.arange(half), torch.arange(half, 2 * half))
    ones = torch.ones(half * half)
    pairs = Pairs(positions[:, 0], positions[:, 1], weight=ones, gap=ones)
    t = torch.rand(1).expand(2 * half)
    noise = torch.randn(1, *images.shape[1:]).expand_as(images)
    rows = condition.repeat(2 * half)
    policy = network.error(images, rows, t, noise, "policy")
    reference = network.error(images, rows, t, noise, "reference")
    loss = dp2o(policy, reference, pairs, DP2OObjective(beta=BETA)).losses.mean()
    loss.backward()
    network.policy.zero_grad(set_to_none=True)
    return loss.detach()


def public_step(network: TinyFlow, winners: Tensor, losers: Tensor, condition: Condition) -> Tensor:
    """Diffusion-DPO's loss of a batch of pairs `[B, 3, H, W]` each (Wallace et al. 2023, eq. 14); with its gradient."""
    count = len(winners)
    images = torch.cat([winners, losers])
    t = torch.rand(count).repeat(2)
    noise = torch.randn_like(winners).repeat(2, 1, 1, 1)
    rows = condition.repeat(2 * count)
    policy_winner, policy_loser = network.error(images, rows, t, noise, "policy").chunk(2)
    reference_winner, reference_loser = network.error(images, rows, t, noise, "reference").chunk(2)
    inside = -0.5 * BETA * ((policy_winner - policy_loser) - (reference_winner - reference_loser))
    loss = -F.logsigmoid(inside).mean()
    loss.backward()
    network.policy.zero_grad(set_to_none=True)
    return loss.detach()


def _public_loop(
    network: TinyFlow, group: Tensor, condition: Condition, batch: int, count: int
) -> Callable[[], object]:
    half = len(group) // 2
    every = torch.cartesian_prod(torch.arange(half), torch.arange(half, 2 * half))[:count]

    def run() -> None:
        for part in every.split(batch):
            public_step(network, group[part[:, 0]], group[part[:, 1]], condition)

    return run


def measure(root: Path, folder: Path | None, top: int, peer_pairs: int, rounds: int) -> list[Comparison]:
    """N = `top`; the peers do `peer_pairs` of the N^2 pairs, which suffices for a rate."""
    network = model.backbone(folder, steps=1)
    _, lr, group = model.group(root, 2 * top)
    condition = network.condition(lr, ("",))
    peer_pairs = min(peer_pairs, top * top)
    ours = Contender("group objective", top * top, lambda: group_step(network, group, condition))
    peers = [
        Contender(
            f"Diffusion-DPO, {batch} pair{'s' * (batch > 1)} a call",
            peer_pairs,
            _public_loop(network, group, condition, batch, peer_pairs),
        )
        for batch in sorted({1, min(8, peer_pairs)})
    ]
    laps = interleaved([ours, *peers], rounds)
    return [compare(f"training, N = {top}", "pairs/s", laps, ours, peer, TARGET) for peer in peers]
