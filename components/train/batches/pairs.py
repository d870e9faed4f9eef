"""Batches of preference pairs: groups in shuffled epochs, one t and one epsilon each, and the objective of their pairs.

Policy and reference share one pass each over 2N candidates a group (docs/method.md, section 5).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import torch
from accelerate import Accelerator
from torch import Tensor

from components.backbones.base import Backbone, Condition, candidate_noise
from components.backbones.dial import preferring
from components.errors import BadInput
from components.settings import TrainSettings
from components.train import schedule
from components.train.batches import BatchLoss, OfStepAlone
from components.train.batches.logged import LOGGED_ERRORS, LOGGED_SUMS, sums_of
from components.train.conditions import Conditions
from components.train.groups import Group, GroupImages
from components.train.objectives import objective_of
from components.train.pairs import PairLosses, Pairs
from components.train.safeguard import loser_scales, safeguarded
from components.train.times import ALONE, Place


@dataclass(frozen=True)
class PairBatch:
    """Some groups of a step.

    Attributes:
        step: from 0.
        groups: each with the number of times that its LR came before in the step, see `schedule.occurrences`, and the
            place of its draws among those of the step.
        total_pairs, total_groups: of the whole step, over all processes.
    """

    step: int
    groups: tuple[tuple[Group, int, Place], ...]
    total_pairs: int
    total_groups: int


@dataclass(frozen=True)
class Drawn:
    """What the networks are given for one group `[B, ...]`, and the pairs over these rows.

    Attributes:
        preference: place on the dial that the policy is told, not a number where it is told none; None without a dial.
        weight: what the loss of each pair counts for, `[P]`, so that how t was drawn leaves the mean as it is; None
            where each counts once.
        share: pairs that the group has, for each one that was drawn.
        lost: rows that are losers, whose prompt is another; None where all have one prompt.
    """

    clean: Tensor
    t: Tensor
    noise: Tensor
    pairs: Pairs
    preference: float | None = None
    weight: Tensor | None = None
    share: float = 1.0
    lost: Sequence[bool] | None = None

    def mean_kept(self, losses: Tensor) -> Tensor:
        """Losses of pairs, each counted so often that their expectation is that of all pairs at plain levels."""
        return losses if self.weight is None else losses * self.weight


class PairBatches(OfStepAlone):
    """Groups of preference pairs, `settings.micro_batch` a batch.

    Args:
        settings: the train block of params.yaml.
        backbone: encodes LR images, and candidates where no latent of them is stored.
        groups: by lr_id.
        images: LR and candidate images of the groups.
        accelerator: device, precision and processes.
        sampled: noise levels of the backbone's sampler, for train.t_distribution sampler.
        number: of the round that the candidates were sampled in, see `generate`.

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
        number: int = 1,
    ) -> None:
        self.settings = settings
        self.number = number
        self.groups = groups
        self.images = images
        self.accelerator = accelerator
        self.sampled = sampled
        self._plain = settings.model_copy(
            update={"t_draws": "independent", "t_proposal": (), "pairs_per_group": 0, "noise_draws": "independent"}
        )
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
        step_groups = list(zip(found, occurrences, self._places(found), strict=True))
        # The mean is over all pairs of the step, wherever they are computed: groups differ in their number of pairs.
        total_pairs = sum(len(group.winner) for group in found)
        rank, world, size = self.accelerator.process_index, self.accelerator.num_processes, self.settings.micro_batch
        mine = step_groups[rank::world]
        return [
            PairBatch(step, tuple(mine[at : at + size]), total_pairs, len(step_groups))
            for at in range(0, len(mine), size)
        ]

    def _places(self, groups: Sequence[Group]) -> list[Place]:
        """Where each group's draws of t stand among those of the step."""
        counts = [schedule.separate_draws(self.settings, self._draws(group)) for group in groups]
        starts = accumulate(counts, initial=0)
        return [Place(start, sum(counts)) for start, _ in zip(starts, counts, strict=False)]

    def _draws(self, group: Group) -> int:
        """Draws of a group in a step: one, or one a pair."""
        pairs = len(group.winner)
        return 1 if self.settings.noise_shared_by == "group" else min(self.settings.pairs_per_group or pairs, pairs)

    def loss(self, backbone: Backbone, batch: PairBatch) -> BatchLoss:
        """Loss of some groups of a step, in one policy pass and one reference pass."""
        drawn = [self.drawn(backbone, batch.step, *one) for one in batch.groups]
        sizes = [len(one.clean) for one in drawn]
        condition = self.condition_of([group for group, _, _ in batch.groups], drawn)
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
        for size, one in zip(sizes, drawn, strict=True):
            rows_of = slice(at, at + size)
            group_policy, group_reference = policy[rows_of], reference[rows_of]
            at += size
            scales = None
            if residuals is not None:
                scales = loser_scales(residuals[rows_of], one.pairs, self.settings.safeguard)
            result = self._losses(group_policy, group_reference, one.pairs, scales)
            kept, total = one.mean_kept(result.losses), batch.total_pairs / one.share
            loss = loss + kept.sum() / total
            if self.settings.anchor:
                winners = one.mean_kept(group_policy[one.pairs.winner]).mean()
                loss = loss + self.settings.anchor * winners / batch.total_groups
            rows.append(
                sums_of(
                    kept,
                    total,
                    result,
                    one.pairs,
                    group_policy,
                    group_reference,
                    size,
                    self.settings.margin_cap,
                    scales,
                )
            )
        return BatchLoss(loss, torch.stack(rows))

    def condition_of(self, groups: Sequence[Group], drawn: Sequence[Drawn]) -> Condition:
        """What the networks see beside all rows of `drawn`, one a group: LR, prompt, and the place of a dial."""
        device, lr_ids = self.accelerator.device, [group.lr_id for group in groups]
        condition = self.conditions.of(lr_ids, device)
        if self.settings.dual_captions:
            # Rows of winners' prompts first, then those of losers'.
            both = Condition.join([condition, self.conditions.of(lr_ids, device, self.settings.dual_captions)])
            lost = [place + len(lr_ids) * flag for place, one in enumerate(drawn) for flag in one.lost or ()]
            condition = both.take(lost)
        else:
            condition = condition.repeat(*(len(one.clean) for one in drawn))
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

    def drawn(self, backbone: Backbone, step: int, group: Group, occurrence: int = 0, place: Place = ALONE) -> Drawn:
        """One t and one noise for the group, or for each of its pairs, as `noise_shared_by` says; or their own noise.

        Args:
            backbone: encodes candidates whose latents are not stored.
            step: that the draw is a function of, beside the LR; negative ones are never trained on, and are of all
                pairs at plain levels.
            group: of one LR.
            occurrence: see `schedule.occurrences`.
            place: of the group's draws of t among those of the step.
        """
        settings = self.settings if step >= 0 else self._plain
        device = self.accelerator.device
        clean = self._clean(backbone, group)
        draw = partial(
            schedule.draw,
            settings,
            step,
            group.lr_id,
            tuple(clean.shape[1:]),
            sampled=self.sampled,
            occurrence=occurrence,
            place=place,
        )
        share = 1.0
        lost: Sequence[bool] | None = None
        if settings.noise_shared_by == "group":
            positions, pairs = list(range(len(group.candidates))), group.by_position(device)
            if settings.dual_captions:
                positions, pairs, lost = group.by_role(device)
            one = draw(draws=1)
            t, noise = one.t.expand(len(positions)), one.noise.expand(len(positions), *one.noise.shape[1:])
            weight = None if one.weight is None else one.weight.expand(len(group.winner))
        else:
            chosen = schedule.pairs_of_step(settings, step, group, occurrence)
            share = len(group.winner) / len(chosen)
            positions, pairs = group.by_pair(device, chosen)
            one = draw(draws=len(chosen))
            if settings.dual_captions:
                lost = [False] * len(chosen) + [True] * (len(positions) - len(chosen))
            twice = len(positions) // len(chosen)  # once where winners stand alone
            t, noise, weight = one.t.repeat(twice), one.noise.repeat(twice, *[1] * (one.noise.dim() - 1)), one.weight
        if settings.noise == "own":
            noise = _own_noise(backbone, group, tuple(clean.shape[1:]), self.number)[positions]
        preference = schedule.told(settings, step, group.lr_id, group.preference, occurrence)
        weight = None if weight is None else weight.to(device)
        return Drawn(clean[positions], t.to(device), noise.to(device), pairs, preference, weight, share, lost)

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


def _own_noise(backbone: Backbone, group: Group, shape: tuple[int, ...], number: int) -> Tensor:
    """The noise that each candidate of a group was sampled from, `[B, *shape]`: a function of LR, index and round.

    Raises:
        BadInput: the sampler draws more than one noise.
    """
    if backbone.sampler.noise_shape(shape) != shape:
        raise BadInput(
            "train.noise own is for flows: the sampler of this backbone draws noise in each step: set it to fresh"
        )
    return torch.stack([candidate_noise(group.lr_id, index, shape, number) for index in group.candidates])


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
