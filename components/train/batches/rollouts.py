"""Roll-outs: what the policy itself restores while it trains, and how that is rewarded. PRDP and DiffusionNFT use them.

A roll-out is a function of the seed, of the step that it begins at and of the weights that sampled it, those of the old
policy. Checkpoints keep these weights and not the roll-out: a run that is resumed between two gradient steps on it
makes it again, to the same bits. Who samples is `Backbone.predict`, as it trains: without guidance.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from components.backbones.base import Backbone, Branch, Branches, Condition, Predictor
from components.backbones.samplers.base import Sampler, moves
from components.errors import BadInput
from components.rewards.alignment import Values
from components.settings import RolledSource, TrainSettings
from components.train import processes, schedule
from components.train.average import Kept
from components.train.batches.verdicts import Raw, Verdicts
from components.train.conditions import Conditions


@dataclass(frozen=True)
class Sampled:
    """Candidates of an LR, on the host.

    Attributes:
        lr_id: of the LR.
        occurrence: see `schedule.occurrences`.
        latents: clean x0 `[B, ...]`.
        states: from x_T to the last, `[T + 1, B, ...]`; empty where they are not kept.
        old, reference: log-probability of each step that draws, by the policy that sampled and by the reference,
            `[T', B]` float64; empty likewise.
    """

    lr_id: str
    occurrence: int
    latents: Tensor
    states: Tensor
    old: Tensor
    reference: Tensor


@dataclass(frozen=True)
class Rolled:
    """A group of a roll-out: its candidates, their raw scores, and their rewards `[B]` in units of their deviation."""

    sampled: Sampled
    raw: Raw
    rewards: Values


@dataclass(frozen=True)
class Rollout:
    """All groups of a roll-out.

    Attributes:
        groups: this process's.
        rewards: of all processes' groups.
    """

    groups: tuple[Rolled, ...]
    rewards: tuple[Values, ...]


@dataclass(frozen=True)
class Unguided:
    """A branch as it trains; fulfils `Mixture`."""

    branch: Branch

    def digest(self, branches: Branches) -> str:
        return branches.digest(self.branch)

    def predictor(self, backbone: Backbone, times: Tensor) -> Predictor:
        return lambda x, t, condition: backbone.predict(x, t, condition, self.branch)


class Rollouts:
    """Roll-outs of `train.groups_per_step` LR images, in shuffled epochs.

    Args:
        settings: the train block of params.yaml.
        source: its source.
        backbone: policy and reference.
        verdicts: rewards; the LR images are those that it knows.
        accelerator: device, precision and processes.
        sampler: of the candidates.
        decay: share of the old policy that a roll-out at a step keeps; the rest is the policy.
        trajectories: whether states are kept, with the log-probabilities of the steps between them.

    Raises:
        BadInput: FSDP2 holds parts of weights, or groups cannot be dealt evenly to the processes.
    """

    def __init__(
        self,
        settings: TrainSettings,
        source: RolledSource,
        backbone: Backbone,
        verdicts: Verdicts,
        accelerator: Accelerator,
        sampler: Sampler[Any],
        *,
        decay: Callable[[int], float] = lambda step: 0.0,
        trajectories: bool = False,
    ) -> None:
        self.settings, self.source, self.backbone, self.verdicts = settings, source, backbone, verdicts
        self.accelerator, self.sampler = accelerator, sampler
        self._decay, self._trajectories = decay, trajectories
        self.conditions = Conditions(backbone, verdicts.images, settings.condition_cache_mb * 2**20)
        self._old: Kept | None = None
        self._made: tuple[int, Rollout] | None = None
        kind = settings.source.kind
        if accelerator.is_fsdp2:
            raise BadInput(
                f"train.source {kind} keeps the whole weights of the policy that sampled, and FSDP2 has parts of them: "
                "launch with launch/ddp.yaml"
            )
        share = settings.micro_batch * accelerator.num_processes
        if settings.groups_per_step % share:
            raise BadInput(
                f"train.groups_per_step {settings.groups_per_step} is not a multiple of train.micro_batch "
                f"{settings.micro_batch} times {accelerator.num_processes} processes: each process needs whole parts"
            )

    def of_step(self, step: int) -> Rollout:
        """The roll-out that optimiser step `step` (from 0) trains on; made where the one before is used up."""
        number, inner = divmod(step, self.source.inner_steps)
        if self._made is None or self._made[0] != number:
            if inner == 0:
                self._take_over(step)
            self._made = (number, self._roll(number))
        return self._made[1]

    def is_fresh(self, step: int) -> bool:
        """Whether the step is the first one on its roll-out."""
        return step % self.source.inner_steps == 0

    @property
    def old(self) -> Kept:
        """Weights that sampled the last roll-out."""
        if self._old is None:
            raise RuntimeError("there was no roll-out yet, and the checkpoint has none")
        return self._old

    @property
    def policy(self) -> torch.nn.Module:
        policy: torch.nn.Module = self.accelerator.unwrap_model(self.backbone.policy)
        return policy

    def state(self) -> dict[str, Tensor]:
        """See `Batches`."""
        return {} if self._old is None else self._old.state()

    def load(self, state: dict[str, Tensor]) -> None:
        """See `Batches`."""
        if state:
            self._old = Kept.of(self.policy)
            self._old.load(state)

    def condition(self, groups: Sequence[Rolled]) -> Condition:
        """Of all candidates of some groups, one after the other."""
        lr_ids = [group.sampled.lr_id for group in groups]
        return self.conditions.of(lr_ids, self.accelerator.device).repeat(self.source.candidates)

    def _take_over(self, step: int) -> None:
        """The old policy becomes, or moves towards, the policy as it is before a step."""
        if self._old is None:
            self._old = Kept.of(self.policy)
        self._old.move_to(self.policy, 1.0 - self._decay(step))

    @torch.no_grad()
    def _roll(self, number: int) -> Rollout:
        began = number * self.source.inner_steps
        lr_ids = schedule.groups_of_step(
            list(self.verdicts.has_hr), number, self.settings.groups_per_step, self.settings.seed
        )
        numbered = list(zip(lr_ids, schedule.occurrences(lr_ids), strict=True))
        sampled: dict[tuple[str, int], Sampled] = {}

        def score(items: Sequence[tuple[str, int]]) -> list[Raw]:
            scores = []
            for lr_id, occurrence in items:
                found, raw = self._sample(began, lr_id, occurrence)
                sampled[lr_id, occurrence] = found
                scores.append(raw)
            return scores

        with self.old.in_place(self.policy):
            scores = processes.share(self.accelerator, numbered, score)
        rewards = self.verdicts.rewards(lr_ids, scores)
        mine = [
            Rolled(sampled[key], raw, values)
            for key, raw, values in zip(numbered, scores, rewards, strict=True)
            if key in sampled
        ]
        return Rollout(tuple(mine), tuple(rewards))

    def _sample(self, step: int, lr_id: str, occurrence: int) -> tuple[Sampled, Raw]:
        count = self.source.candidates
        condition = self.conditions.of([lr_id], self.accelerator.device).repeat(count)
        shape = self.sampler.noise_shape(self.backbone.latent_shape(*condition.upsampled.shape[-2:]))
        noise = schedule.draw_rollout(self.settings, step, lr_id, shape, count, occurrence)
        nothing = torch.empty(0)
        states, old, reference = nothing, nothing, nothing
        with self.accelerator.autocast():
            steps = list(moves(self.sampler, self.backbone, condition, noise, Unguided("policy")))
            latents = self.sampler.finish(self.backbone, steps[-1].drawn, condition)
            images = self.backbone.decode(latents, condition)
            if self._trajectories:
                states = torch.stack([steps[0].x, *(one.drawn for one in steps)])
                drawing = [one for one in steps if one.transition.std is not None]
                old = torch.stack([one.transition.log_prob(one.drawn) for one in drawing]).cpu()
                reference = self.log_probs(states, condition, "reference", range(len(drawing))).cpu()
        raw = self.verdicts.raw(lr_id, images.float(), condition.upsampled)  # metrics keep their own precision
        return Sampled(lr_id, occurrence, latents.cpu(), states.cpu(), old, reference), raw

    def log_probs(self, states: Tensor, condition: Condition, branch: Branch, numbers: Sequence[int]) -> Tensor:
        """Of the steps `numbers` of trajectories `[T + 1, B, ...]` by a branch, `[len(numbers), B]` float64."""
        chain = self.sampler.schedule(states[0])
        found = []
        for number in numbers:
            x = states[number]
            predicted = self.backbone.predict(x, chain.times[number].expand(len(x)), condition, branch)
            found.append(chain.transition(number, predicted.float(), x).log_prob(states[number + 1]))
        return torch.stack(found)


def metric_sums(groups: Sequence[Rolled], names: Sequence[str], device: torch.device) -> Tensor:
    """Sums and counts of raw values over some groups' candidates, `[2 K]` float64: what the log's means are made of."""
    found = torch.zeros(2, len(names), dtype=torch.float64)
    for group in groups:
        for place, name in enumerate(names):
            values = torch.as_tensor(group.raw[name]) if name in group.raw else torch.empty(0)
            known = values[values.isfinite()]
            found[:, place] += torch.tensor([float(known.sum()), float(len(known))], dtype=torch.float64)
    return found.flatten().to(device)


def metric_means(sums: Sequence[float], names: Sequence[str]) -> Mapping[str, float]:
    """What the log says of the roll-out, from sums of `metric_sums`: `rolled_psnr` and so on."""
    pairs = zip(names, sums[: len(names)], sums[len(names) :], strict=True)
    return {f"rolled_{name}": total / count if count else float("nan") for name, total, count in pairs}
