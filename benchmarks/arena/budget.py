"""Network passes: what a composition takes, and how many steps its budget leaves. Pure.

A pass is one picture through one network, once: a candidate through one step of the sampler (twice with classifier-free
guidance), a candidate through one rewarded metric, a noised candidate through the policy (its backward pass belongs to
it), or through the reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from components.errors import BadInput
from components.settings import NFTSource, RolledSource, Settings, TrainSettings
from components.train import schedule
from components.train.groups import Group


@dataclass(frozen=True)
class Passes:
    """Passes of one training, and of the data that it needs.

    Attributes:
        rollouts: of the candidates' sampling, before the training or in it.
        judge: of the candidates' scoring by the rewarded metrics.
        training: of policy and reference.
    """

    rollouts: int
    judge: int
    training: int

    @property
    def total(self) -> int:
        return self.rollouts + self.judge + self.training

    def __add__(self, other: "Passes") -> "Passes":
        return Passes(self.rollouts + other.rollouts, self.judge + other.judge, self.training + other.training)


def before_training(settings: Settings, lr_images: int) -> Passes:
    """Passes of the M candidates of each LR image: those of the composition, whatever else was sampled.

    None where training is without pairs, as it looks at none of these candidates.
    """
    if not settings.train.source.of_pairs:
        return Passes(0, 0, 0)
    candidates = lr_images * (settings.pair.candidates or settings.generate.candidates)
    guided = getattr(settings.backbone, "guidance_scale", 1.0) > 1.0
    steps: int = getattr(settings.backbone, "steps")  # noqa: B009  # every family has it, each in its own block
    metrics = len(settings.score.fr) + len(settings.score.nr)
    return Passes(candidates * steps * (2 if guided else 1), candidates * metrics, 0)


def rows(group: Group, train: TrainSettings) -> int:
    """Noised candidates of a group that a step takes through the policy, and as many through the reference."""
    if train.noise_shared_by == "group":
        return len(group.candidates)
    pairs = len(group.winner)
    taken = min(train.pairs_per_group or pairs, pairs)
    return taken * (2 if min(group.loser) >= 0 else 1)


def of_step(settings: Settings, groups: Mapping[str, Group], step: int) -> Passes:
    """Passes of optimiser step `step`, exactly: groups differ in their number of candidates."""
    train = settings.train
    if isinstance(train.source, RolledSource):
        return _rolled(settings, train.source, step)
    return Passes(0, 0, _training(settings, groups, step))


def _rolled(settings: Settings, source: RolledSource, step: int) -> Passes:
    """A roll-out's where one begins, and those of the gradient step.

    Of PRDP's log-ratios, those of a fresh roll-out are known of the policy, and the reference's are new. NFT asks the
    policy, the old one, and the reference where it has a weight.
    """
    candidates = settings.train.groups_per_step * source.candidates
    own: int = getattr(settings.backbone, "steps")  # noqa: B009  # every family has it, each in its own block
    steps = source.steps or own
    each = 2 + bool(source.reference_weight) if isinstance(source, NFTSource) else 2 * (steps - 1)
    fresh = step % source.inner_steps == 0
    metrics = len(settings.score.fr) + len(settings.score.nr)
    return Passes(fresh * candidates * steps, fresh * candidates * metrics, candidates * each)


def _training(settings: Settings, groups: Mapping[str, Group], step: int) -> int:
    train = settings.train
    if not train.source.of_pairs:  # an image with HR through the policy and through two metrics
        return 3 * train.groups_per_step
    chosen = schedule.groups_of_step(list(groups), step, train.groups_per_step, train.seed)
    return 2 * sum(rows(groups[lr_id], train) for lr_id in chosen)


def steps_within(settings: Settings, groups: Mapping[str, Group], before: Passes, total: int) -> tuple[int, Passes]:
    """The most optimiser steps that `total` passes allow, and all passes with them.

    Raises:
        BadInput: they allow none.
    """
    steps, passes = 0, before
    while (passes + (more := of_step(settings, groups, steps))).total <= total:
        steps, passes = steps + 1, passes + more
    if not steps:
        raise BadInput(
            f"{total} passes leave no training: {before.rollouts} go to the candidates, {before.judge} to their "
            f"scores, {more.total} to a step; raise passes, or lower pair.candidates"
        )
    return steps, passes


def of_steps(settings: Settings, groups: Mapping[str, Group], before: Passes, steps: int) -> Passes:
    """All passes with `steps` optimiser steps."""
    start = Passes(before.rollouts, before.judge, 0)
    return sum((of_step(settings, groups, step) for step in range(steps)), start)
