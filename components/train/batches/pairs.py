"""Batches of preference pairs: groups in shuffled epochs, one t and one epsilon each, and the objective of their pairs.

Policy and reference share one pass each over 2N candidates a group (docs/method.md, section 5).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor

from components.backbones.base import Backbone, Condition, candidate_noise
from components.backbones.dial import preferring
from components.errors import BadInput
from components.settings import TrainSettings
from components.train import schedule
from components.train.batches import BatchLoss, OfStepAlone
from components.train.conditions import Conditions
from components.train.groups import Group, GroupImages
from components.train.objectives import objective_of
from components.train.pairs import PairLosses, Pairs
from components.train.safeguard import loser_scales, safeguarded

LOGGED_SUMS = (
    "loss",
    "accuracy",
    "margin",
    "capped",
    "restrained",
    "misranked",
    "weight",
    "weight_squared",
    "pairs",
)
MISRANKED = -4.0
"""z below which a pair counts as badly misranked in the log."""
LOGGED_ERRORS = ("policy_winner", "policy_loser", "reference_winner", "reference_loser")


@dataclass(frozen=True)
class PairBatch:
    """Some groups of a step.

    Attributes:
        step: from 0.
        groups: each with the number of times that its LR came before in the step, see `schedule.occurrences`.
        total_pairs, total_groups: of the whole step, over all processes.
    """

    step: int
    groups: tuple[tuple[Group, int], ...]
    total_pairs: int
    total_groups: int


@dataclass(frozen=True)
class Drawn:
    """What the networks are given for one group `[B, ...]`, and the pairs over these rows.

    `preference` is the place on the dial that the policy is told, not a number where it is told none; None without a
    dial.
    """

    clean: Tensor
    t: Tensor
    noise: Tensor
    pairs: Pairs
    preference: float | None = None


class PairBatches(OfStepAlone):
    """Groups of preference pairs, `settings.micro_batch` a batch.

    Args:
        settings: the train block of params.yaml.
        backbone: encodes LR images, and candidates where no latent of them is stored.
        groups: by lr_id.
        images: LR and candidate images of the groups.
        accelerator: device, precision and processes.
        sampled: noise levels of the backbone's sampler, for train.t_distribution sampler.

    Raises:
        BadInput: the groups of a step cannot be dealt evenly to the processes, or their pairs are of places on a dial
            that the policy lacks.
    """

    def __init__(
        self,
        settings: TrainSettings,
        backbone: Backbone,
        groups: dict[str, Group],
        images: GroupImages,
        accelerator: Accelerator,
        sampled: Sequence[float] = (),
    ) -> None:
        self.settings = settings
        self.groups = groups
        self.images = images
        self.accelerator = accelerator
        self.sampled = sampled
        self.conditions = Conditions(backbone, images, settings.condition_cache_mb * 2**20)
        self.objective: Callable[[Tensor, Tensor, Pairs], PairLosses] = objective_of(settings.objective)
        share = settings.micro_batch * accelerator.num_processes
        if settings.groups_per_step % share:
            raise BadInput(
                f"train.groups_per_step {settings.groups_per_step} is not a multiple of train.micro_batch "
                f"{settings.micro_batch} times {accelerator.num_processes} processes: each process needs whole parts"
            )

        if not backbone.has_dial and any(group.preference is not None for group in groups.values()):
            raise BadInput(
                "data/pairs.parquet is of places on a dial, which the policy lacks: set pair.dial to [] and run pair "
                "again"
            )

    def of_step(self, step: int) -> list[PairBatch]:
        """This process's groups of a step, in parts."""
        names = schedule.groups_of_step(list(self.groups), step, self.settings.groups_per_step, self.settings.seed)
        found = [self.groups[name] for name in names]
        occurrences = schedule.occurrences([group.lr_id for group in found])
        step_groups = list(zip(found, occurrences, strict=True))
        # The mean is over all pairs of the step, wherever they are computed: groups differ in their number of pairs.
        total_pairs = sum(len(group.winner) for group, _ in step_groups)
        rank, world, size = self.accelerator.process_index, self.accelerator.num_processes, self.settings.micro_batch
        mine = step_groups[rank::world]
        return [
            PairBatch(step, tuple(mine[at : at + size]), total_pairs, len(step_groups))
            for at in range(0, len(mine), size)
        ]

    def loss(self, backbone: Backbone, batch: PairBatch) -> BatchLoss:
        """Loss of some groups of a step, in one policy pass and one reference pass."""
        drawn = [self.drawn(backbone, batch.step, group, occurrence) for group, occurrence in batch.groups]
        sizes = [len(one.clean) for one in drawn]
        condition = self.condition_of([group for group, _ in batch.groups], drawn)
        x0, t, noise = (torch.cat([getattr(one, name) for one in drawn]) for name in ("clean", "t", "noise"))
        residuals = None
        with self.accelerator.autocast():
            if self.settings.safeguard:
                residuals, policy, reference = with_residuals(backbone, x0, condition, t, noise)
            else:
                policy, reference = backbone.errors(x0, condition, t, noise)

        loss = policy.new_zeros(())
        rows = []
        at = 0
        for (group, _), size, one in zip(batch.groups, sizes, drawn, strict=True):
            rows_of = slice(at, at + size)
            group_policy, group_reference = policy[rows_of], reference[rows_of]
            at += size
            scales = None
            if residuals is not None:
                scales = loser_scales(residuals[rows_of], one.pairs, self.settings.safeguard)
            result = self._losses(group_policy, group_reference, one.pairs, scales)
            loss = loss + result.losses.sum() / batch.total_pairs
            if self.settings.anchor:
                winners = group_policy[one.pairs.winner].mean()
                loss = loss + self.settings.anchor * winners / batch.total_groups
            rows.append(
                _sums(
                    result,
                    one.pairs,
                    group_policy,
                    group_reference,
                    batch.total_pairs,
                    len(group.candidates),
                    self.settings.margin_cap,
                    scales,
                )
            )
        return BatchLoss(loss, torch.stack(rows))

    def condition_of(self, groups: Sequence[Group], drawn: Sequence[Drawn]) -> Condition:
        """What the networks see beside all rows of `drawn`, one a group: the LR, and the place of a dial."""
        sizes = [len(one.clean) for one in drawn]
        device = self.accelerator.device
        condition = self.conditions.of([group.lr_id for group in groups], device).repeat(*sizes)
        told = [one.preference for one in drawn for _ in one.clean if one.preference is not None]
        return preferring(condition, torch.tensor(told, device=device)) if told else condition

    def _losses(self, policy: Tensor, reference: Tensor, pairs: Pairs, scales: Tensor | None) -> PairLosses:
        """Losses of a group's pairs, within the settings' cap and, where there are `scales`, its safeguard."""
        if scales is None:
            result = self.objective(policy, reference, pairs)
        else:
            result = safeguarded(self.objective, policy, reference, pairs, scales)
        return capped(result, self.settings.margin_cap)

    def row(self, sums: Sequence[float]) -> dict[str, float]:
        """Means over the step's pairs."""
        named = dict(zip((*LOGGED_SUMS, *LOGGED_ERRORS, "images"), sums, strict=True))
        pairs = named["pairs"]
        mean_weight = named["weight"] / pairs
        return {
            "loss": named["loss"],
            "accuracy": named["accuracy"] / pairs,
            "margin": named["margin"] / pairs,
            **{name: named[name] / pairs for name in LOGGED_ERRORS},
            **({"capped": named["capped"] / pairs} if self.settings.margin_cap else {}),
            **({"restrained": named["restrained"] / pairs} if self.settings.safeguard else {}),
            **({"misranked": named["misranked"] / pairs} if self.settings.objective.vanishes else {}),
            "weight_std": max(named["weight_squared"] / pairs - mean_weight**2, 0.0) ** 0.5,
            "images": named["images"],
        }

    def drawn(self, backbone: Backbone, step: int, group: Group, occurrence: int = 0) -> Drawn:
        """One t and one noise for the group, or for each of its pairs, as `noise_shared_by` says; or their own noise.

        Args:
            backbone: encodes candidates whose latents are not stored.
            step: that the draw is a function of, beside the LR; negative ones are never trained on.
            group: of one LR.
            occurrence: see `schedule.occurrences`.
        """
        device = self.accelerator.device
        clean = self._clean(backbone, group)
        draw = partial(
            schedule.draw_noise,
            self.settings,
            step,
            group.lr_id,
            tuple(clean.shape[1:]),
            sampled=self.sampled,
            occurrence=occurrence,
        )
        if self.settings.noise_shared_by == "group":
            positions, pairs = list(range(len(group.candidates))), group.by_position(device)
            t, noise = draw(draws=1)
            t, noise = t.expand(len(positions)), noise.expand(len(positions), *noise.shape[1:])
        else:
            positions, pairs = group.by_pair(device)
            count = len(group.winner)
            t, noise = draw(draws=count)
            twice = len(positions) // count  # once where winners stand alone
            t, noise = t.repeat(twice), noise.repeat(twice, *[1] * (noise.dim() - 1))
        if self.settings.noise == "own":
            noise = _own_noise(backbone, group, tuple(clean.shape[1:]))[positions]
        preference = schedule.told(self.settings, step, group.lr_id, group.preference, occurrence)
        return Drawn(clean[positions], t.to(device), noise.to(device), pairs, preference)

    def _clean(self, backbone: Backbone, group: Group) -> Tensor:
        """x0 of a group's candidates: as the sampler gave it where it was stored, else the encoded image."""
        stored = self.images.latents(group.lr_id, group.candidates)
        if stored is None:
            images = self.images.candidates(group.lr_id, group.candidates)
            with torch.no_grad():
                return backbone.encode(images.to(self.accelerator.device))
        lr = self.images.lr(group.lr_id)
        shape = backbone.latent_shape(*(side * backbone.scale for side in lr.shape[-2:]))
        if tuple(stored.shape[1:]) != shape:
            raise BadInput(
                f"the stored latents of {group.lr_id} are {tuple(stored.shape[1:])}, backbone.base takes {shape}: "
                "candidates are of another model; run generate, score and pair again"
            )
        return stored.to(self.accelerator.device)


def _own_noise(backbone: Backbone, group: Group, shape: tuple[int, ...]) -> Tensor:
    """The noise that each candidate of a group was sampled from, `[B, *shape]`: a function of LR and index.

    Raises:
        BadInput: the sampler draws more than one noise.
    """
    if backbone.sampler.noise_shape(shape) != shape:
        raise BadInput(
            "train.noise own is for flows: the sampler of this backbone draws noise in each step: set it to fresh"
        )
    return torch.stack([candidate_noise(group.lr_id, index, shape) for index in group.candidates])


def with_residuals(
    backbone: Backbone, x0: Tensor, condition: Condition, t: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The policy's prediction less its target `[B, ...]`, and the errors of policy and reference `[B]`.

    The reference goes first, as in `errors`: an adapter is not switched between the policy's two passes. What a family
    shares between both branches runs twice.
    """
    reference = backbone.error(x0, condition, t, noise, "reference")
    noisy, target = backbone.noised(x0, condition, t, noise)
    residuals = backbone.predict(noisy, t, condition, "policy") - target
    return residuals, residuals.square().flatten(1).mean(dim=1), reference


def capped(result: PairLosses, cap: float) -> PairLosses:
    """The same losses, of which those of pairs with z above `cap` have no gradient; 0 = no cap.

    What is far enough apart is left alone, so that z does not grow without end.
    """
    if not cap:
        return result
    losses = torch.where(result.margins > cap, result.losses.detach(), result.losses)
    return PairLosses(losses, result.margins)


@torch.no_grad()
def _sums(
    result: PairLosses,
    pairs: Pairs,
    policy: Tensor,
    reference: Tensor,
    total_pairs: int,
    images: int,
    cap: float,
    scales: Tensor | None,
) -> Tensor:
    """What one group adds to the log's sums, in the order of `PairBatches.row`."""
    margins = result.margins
    none = margins.new_zeros((), dtype=torch.float64)
    over = (margins > cap).double().sum() if cap else none
    restrained = none if scales is None else (scales < 1.0).double().sum()
    accuracy = (margins > 0).double().sum() + 0.5 * (margins == 0).double().sum()  # undecided is a coin toss

    def loser_sum(errors_of: Tensor) -> Tensor:
        # Winners alone have no losers' error; not a number is what is logged, not another error in its place.
        alone = pairs.loser < 0
        return errors_of[pairs.loser.clamp_min(0)].double().masked_fill(alone, torch.nan).sum()

    return torch.stack(
        [
            result.losses.double().sum() / total_pairs,
            accuracy,
            margins.double().sum(),
            over,
            restrained,
            (margins < MISRANKED).double().sum(),
            pairs.weight.double().sum(),
            pairs.weight.double().square().sum(),
            margins.new_tensor(len(margins), dtype=torch.float64),
            policy[pairs.winner].double().sum(),
            loser_sum(policy),
            reference[pairs.winner].double().sum(),
            loser_sum(reference),
            margins.new_tensor(images, dtype=torch.float64),
        ]
    )
