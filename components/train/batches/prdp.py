"""Reward difference prediction on the policy's own trajectories (PRDP, arXiv 2402.08714).

    r_hat = mean over steps of log pi(x'|x) - log pi_ref(x'|x)
    loss = mean over pairs with r_i > r_j of max((dr_hat - dr / beta)^2, (dr_hat_clipped - dr / beta)^2)

Each step's log-ratio is clipped to within `clip` of what it was when the trajectory was sampled. Log-probabilities are
means over the state's elements, rewards in units of their deviation within the group.

The loss of a group couples all of its steps, and their graphs together would take the memory of a whole sampling. So
the log-ratios come first, without a graph; the loss's derivatives by them are the weights of the log-probabilities that
are then passed backwards, one step at a time. That is the loss's own gradient, at the cost of a second forward pass; on
a fresh roll-out the log-ratios are those of the sampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from components.backbones.base import Backbone
from components.backbones.samplers.stochastic import stochastic
from components.settings import PRDPSource, TrainSettings
from components.train.batches import BatchLoss
from components.train.batches.rollouts import Rolled, Rollouts, metric_means, metric_sums
from components.train.batches.verdicts import Verdicts

SUMS = ("loss", "pairs", "accuracy", "ratios", "clipped", "log_ratio", "images")


@dataclass(frozen=True)
class Predicted:
    """What a group's log-ratios predict of its rewards.

    Attributes:
        losses: of each pair with a difference, `[P]`.
        right: share of the pairs' differences whose sign is predicted, as a number of pairs; 0 is half right.
        clipped: which log-ratios are outside their bounds, `[T, B]`.
    """

    losses: Tensor
    right: Tensor
    clipped: Tensor


def predict_differences(ratios: Tensor, old: Tensor, rewards: Tensor, source: PRDPSource) -> Predicted:
    """Losses of a group's pairs; see the module's docstring.

    Args:
        ratios: log pi - log pi_ref of each step and candidate, `[T, B]`.
        old: the same of the policy that sampled.
        rewards: `[B]`; candidates without a number take no part.
        source: beta and clip.
    """
    better, worse = torch.nonzero(rewards[:, None] > rewards[None, :], as_tuple=True)
    wanted = (rewards[better] - rewards[worse]) / source.beta
    bounded = torch.minimum(torch.maximum(ratios, old - source.clip), old + source.clip)
    plain, clipped = (values.mean(dim=0) for values in (ratios, bounded))
    apart = plain[better] - plain[worse]
    losses = torch.maximum((apart - wanted).square(), (clipped[better] - clipped[worse] - wanted).square())
    right = (apart > 0).double().sum() + 0.5 * (apart == 0).double().sum()
    return Predicted(losses, right.detach(), ((ratios - old).abs() > source.clip).detach())


@dataclass(frozen=True)
class StepBatch:
    """A step of the trajectories of some groups.

    Attributes:
        groups: see `Rolled`.
        number: of the sampling's step.
        weights: derivative of the loss by each log-ratio of it, `[G B]`.
        sums: what the log is made of, once for these groups; zeros in their other batches.
    """

    groups: tuple[Rolled, ...]
    number: int
    weights: Tensor
    sums: Tensor


class PRDPBatches:
    """Trajectories of the policy, `train.micro_batch` groups a pass.

    Args:
        settings: the train block of params.yaml.
        source: its source.
        backbone: policy and reference.
        steps: of the backbone's own sampler.
        verdicts: rewards, and the LR images that are trained on.
        accelerator: device, precision and processes.

    Raises:
        BadInput: as `Rollouts`, or the model has no sampler that draws in its steps.
    """

    def __init__(
        self,
        settings: TrainSettings,
        source: PRDPSource,
        backbone: Backbone,
        steps: int,
        verdicts: Verdicts,
        accelerator: Accelerator,
    ) -> None:
        self.source, self.backbone, self.accelerator = source, backbone, accelerator
        self.size, self.names = settings.micro_batch, verdicts.names
        sampler = stochastic(backbone, source.steps or steps, source.noise_level)
        self.rollouts = Rollouts(settings, source, backbone, verdicts, accelerator, sampler, trajectories=True)

    def state(self) -> dict[str, Tensor]:
        return self.rollouts.state()

    def load(self, state: dict[str, Tensor]) -> None:
        self.rollouts.load(state)

    def of_step(self, step: int) -> list[StepBatch]:
        """A batch for each step that draws, of each part of this process's groups."""
        rollout = self.rollouts.of_step(step)
        pairs = sum(int((values[:, None] > values[None, :]).sum()) for values in rollout.rewards)
        fresh = self.rollouts.is_fresh(step)
        batches = []
        for at in range(0, len(rollout.groups), self.size):
            batches += self._of_groups(rollout.groups[at : at + self.size], max(pairs, 1), fresh)
        return batches

    def loss(self, backbone: Backbone, batch: StepBatch) -> BatchLoss:
        """A function whose gradient is the loss's part of this step; the loss itself is in the sums."""
        condition = self.rollouts.condition(batch.groups)
        states = self._states(batch.groups)
        with self.accelerator.autocast():
            (found,) = self.rollouts.log_probs(states, condition, "policy", [batch.number])
        return BatchLoss((batch.weights * found).sum(), batch.sums[None])

    def row(self, sums: Sequence[float]) -> dict[str, float]:
        """Means over the step's pairs, over its log-ratios, and over the roll-out's candidates."""
        named = dict(zip(SUMS, sums[: len(SUMS)], strict=True))
        pairs, ratios = max(named["pairs"], 1.0), max(named["ratios"], 1.0)
        return {
            "loss": named["loss"],
            "accuracy": named["accuracy"] / pairs if named["pairs"] else float("nan"),
            "clipped": named["clipped"] / ratios,
            "log_ratio": named["log_ratio"] / ratios,
            **metric_means(sums[len(SUMS) :], self.names),
            "images": named["images"],
        }

    def _of_groups(self, groups: tuple[Rolled, ...], pairs: int, fresh: bool) -> list[StepBatch]:
        ratios = self._ratios(groups, fresh)
        old = torch.cat([group.sampled.old - group.sampled.reference for group in groups], dim=1).to(ratios.device)
        ratios.requires_grad_()
        size = self.source.candidates
        found = []
        for place, group in enumerate(groups):
            rows = slice(place * size, (place + 1) * size)
            rewards = torch.as_tensor(group.rewards).to(ratios.device)
            found.append(predict_differences(ratios[:, rows], old[:, rows], rewards, self.source))
        losses = torch.cat([one.losses for one in found])
        loss = losses.sum() / pairs
        (weights,) = torch.autograd.grad(loss, ratios)
        right, outside = sum(one.right for one in found), sum(one.clipped.sum() for one in found)
        own = [loss.detach(), len(losses), right, ratios.numel(), outside, ratios.detach().sum(), ratios.numel()]
        sums = torch.stack([torch.as_tensor(value, dtype=torch.float64).to(ratios.device) for value in own])
        sums = torch.cat([sums, metric_sums(groups, self.names, ratios.device)])
        return [
            StepBatch(groups, number, weights[number], sums if number == 0 else torch.zeros_like(sums))
            for number in range(len(weights))
        ]

    @torch.no_grad()
    def _ratios(self, groups: tuple[Rolled, ...], fresh: bool) -> Tensor:
        """Log-ratios of the policy as it is, `[T', G B]`."""
        device = self.accelerator.device
        reference = torch.cat([group.sampled.reference for group in groups], dim=1).to(device)
        if fresh:
            return torch.cat([group.sampled.old for group in groups], dim=1).to(device) - reference
        condition = self.rollouts.condition(groups)
        with self.accelerator.autocast():
            found = self.rollouts.log_probs(self._states(groups), condition, "policy", range(len(reference)))
        return found - reference

    def _states(self, groups: Sequence[Rolled]) -> Tensor:
        return torch.cat([group.sampled.states for group in groups], dim=1).to(self.accelerator.device)
