"""Negative-aware fine-tuning on the policy's own samples, along the forward process (DiffusionNFT, arXiv 2509.16117).

A sample x0 of the old policy is noised to x_t, where v = eps - x0. Two implicit policies stand on both sides of the old
one, v+ = old + beta (v_theta - old) and v- = old - beta (v_theta - old); good samples teach the first, bad ones the
second:

    loss = [r D(v+) + (1 - r) D(v-)] / beta * clip + reference_weight * mean (v_theta - v_ref)^2
    D(u) = mean (x0_hat - x0)^2 / mean |x0_hat - x0|,  x0_hat = x_t - t u, the divisor without a gradient
    r = 1/2 + 1/2 min(max(A / clip, -1), 1),  A the reward in units of its deviation within the group

No trajectory and no log-probability takes part, so any sampler will do: it is the model's own. The paper's loss is
r |v+ - v|^2 + (1 - r) |v- - v|^2; the divisor, the factors and the distance from the reference are those of its code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from components.backbones.base import Backbone
from components.backbones.samplers.base import Sampler
from components.settings import NFTSource, TrainSettings
from components.train import schedule
from components.train.batches import BatchLoss
from components.train.batches.rollouts import Rolled, Rollouts, metric_means, metric_sums
from components.train.batches.verdicts import Verdicts

SUMS = ("loss", "images", "positive", "negative", "moved", "left_reference")
LEAST_DISTANCE = 1e-5
"""Of the divisor of D."""


@dataclass(frozen=True)
class Contrast:
    """Of each candidate, `[B]`: the loss without the distance from the reference, and D of both implicit policies."""

    losses: Tensor
    positive: Tensor
    negative: Tensor


def optimality(rewards: Tensor, clip: float) -> Tensor:
    """r `[B]` in [0, 1] of rewards in units of their deviation; 1/2 of one that is no number, which teaches nothing."""
    return 0.5 + 0.5 * (rewards.nan_to_num(0.0) / clip).clamp(-1.0, 1.0)


def contrast(velocity: Tensor, old: Tensor, target: Tensor, t: Tensor, r: Tensor, source: NFTSource) -> Contrast:
    """See the module's docstring.

    Args:
        velocity: of the policy, `[B, ...]`.
        old: of the old policy, without a gradient.
        target: eps - x0.
        t: `[B]`.
        r: see `optimality`.
        source: beta and advantage_clip.
    """
    moved = source.beta * (velocity - old)
    positive, negative = (_distance(old + sign * moved - target, t) for sign in (1.0, -1.0))
    losses = (r * positive + (1.0 - r) * negative) * source.advantage_clip / source.beta
    return Contrast(losses, positive, negative)


def _distance(error: Tensor, t: Tensor) -> Tensor:
    """D of a velocity that is so far from v: x0_hat - x0 = -t (u - v)."""
    apart = t.view(-1, *[1] * (error.dim() - 1)) * error
    divisor = apart.detach().abs().flatten(1).mean(dim=1).clamp_min(LEAST_DISTANCE)
    return apart.square().flatten(1).mean(dim=1) / divisor


@dataclass(frozen=True)
class NoisedBatch:
    """Samples of some groups at a step.

    Attributes:
        step: from 0, that times and noise are drawn for.
        groups: see `Rolled`.
        total: samples of the whole step, over all processes.
    """

    step: int
    groups: tuple[Rolled, ...]
    total: int


class NFTBatches:
    """Samples of the policy, `train.micro_batch` groups a pass, each with a t and a noise of its own.

    Args:
        settings: the train block of params.yaml.
        source: its source.
        backbone: policy and reference; a flow.
        sampler: of the samples.
        verdicts: rewards, and the LR images that are trained on.
        accelerator: device, precision and processes.

    Raises:
        BadInput: as `Rollouts`.
    """

    def __init__(
        self,
        settings: TrainSettings,
        source: NFTSource,
        backbone: Backbone,
        sampler: Sampler[Any],
        verdicts: Verdicts,
        accelerator: Accelerator,
    ) -> None:
        self.settings, self.source, self.backbone, self.accelerator = settings, source, backbone, accelerator
        self.names = verdicts.names
        self.sampled = backbone.sampler.levels

        def decay(step: int) -> float:
            return min(source.old_rate * step, source.old_decay)

        self.rollouts = Rollouts(settings, source, backbone, verdicts, accelerator, sampler, decay=decay)

    def state(self) -> dict[str, Tensor]:
        return self.rollouts.state()

    def load(self, state: dict[str, Tensor]) -> None:
        self.rollouts.load(state)

    def of_step(self, step: int) -> list[NoisedBatch]:
        """This process's samples, in parts."""
        groups, size = self.rollouts.of_step(step).groups, self.settings.micro_batch
        total = self.settings.groups_per_step * self.source.candidates
        return [NoisedBatch(step, groups[at : at + size], total) for at in range(0, len(groups), size)]

    def loss(self, backbone: Backbone, batch: NoisedBatch) -> BatchLoss:
        """Mean over the step's samples."""
        device = self.accelerator.device
        condition = self.rollouts.condition(batch.groups)
        latents = torch.cat([group.sampled.latents for group in batch.groups]).to(device)
        t, noise = self._drawn(batch)
        rewards = torch.cat([torch.as_tensor(group.rewards) for group in batch.groups]).to(device)
        x, target = backbone.noised(latents, condition, t, noise)
        # Apart: autocast remembers the weights that it has cast, and the old policy's are not those of the next pass.
        with torch.no_grad(), self.rollouts.old.in_place(self.rollouts.policy), self.accelerator.autocast():
            old = backbone.predict(x, t, condition, "policy")
        with self.accelerator.autocast():
            reference = backbone.predict(x, t, condition, "reference") if self.source.reference_weight else old
            velocity = backbone.predict(x, t, condition, "policy")
        r = optimality(rewards, self.source.advantage_clip).to(velocity.dtype)
        found = contrast(velocity, old, target, t, r, self.source)
        apart = (velocity - reference).square().flatten(1).mean(dim=1)
        losses = found.losses + self.source.reference_weight * apart
        own = {
            "loss": losses / batch.total,
            "images": torch.ones_like(losses),
            "positive": found.positive,
            "negative": found.negative,
            "moved": (velocity - old).square().flatten(1).mean(dim=1),
            "left_reference": apart,
        }
        sums = torch.stack([own[name].detach().double().sum() for name in SUMS])
        rolled = metric_sums(batch.groups, self.names, device)
        return BatchLoss(losses.sum() / batch.total, torch.cat([sums, rolled])[None])

    def row(self, sums: Sequence[float]) -> dict[str, float]:
        """Means over the step's samples, and over the roll-out's candidates."""
        named = dict(zip(SUMS, sums[: len(SUMS)], strict=True))
        means = {name: named[name] / named["images"] for name in SUMS[2:]}
        if not self.source.reference_weight:
            del means["left_reference"]
        rolled = metric_means(sums[len(SUMS) :], self.names)
        return {"loss": named["loss"], **means, **rolled, "images": named["images"]}

    def _drawn(self, batch: NoisedBatch) -> tuple[Tensor, Tensor]:
        """t `[G B]` and noise `[G B, ...]`."""
        draws = []
        for group in batch.groups:
            own, count = group.sampled, self.source.candidates
            shape = tuple(own.latents.shape[1:])
            # What candidates that share a draw have in common cancels, since their 2r - 1 add up to about 0.
            drawn = 1 if self.settings.noise_shared_by == "group" else count
            t, noise = schedule.draw_noise(
                self.settings, batch.step, own.lr_id, shape, drawn, self.sampled, own.occurrence
            )
            draws.append((t.expand(count), noise.expand(count, *shape)))
        device = self.accelerator.device
        return torch.cat([t for t, _ in draws]).to(device), torch.cat([noise for _, noise in draws]).to(device)
