"""What a training step sees, as a function of (seed, step, LR) alone. Pure.

There is no generator whose state could be lost or depend on the number of processes: a resumed run, and a run on two
processes, draw exactly what an undisturbed run on one draws.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from components.errors import BadInput
from components.settings import TrainSettings
from components.storage.digests import seed_of
from components.train import times
from components.train.groups import Group
from components.train.times import ALONE, Place


def groups_of_step(lr_ids: Sequence[str], step: int, per_step: int, seed: int) -> list[str]:
    """LR ids of optimiser step `step` (from 0): the next `per_step` of an endless sequence of shuffled epochs."""
    places = [divmod(position, len(lr_ids)) for position in range(step * per_step, (step + 1) * per_step)]
    orders = {
        epoch: np.random.default_rng(seed_of("order", seed, epoch)).permutation(len(lr_ids))
        for epoch in {epoch for epoch, _ in places}
    }
    return [lr_ids[int(orders[epoch][place])] for epoch, place in places]


def occurrences(lr_ids: Sequence[str]) -> list[int]:
    """How often each LR of a step came before in it: a step that straddles two epochs may hold one twice."""
    return [list(lr_ids[:place]).count(lr_id) for place, lr_id in enumerate(lr_ids)]


def draw_times(
    settings: TrainSettings, generator: torch.Generator, count: int, sampled: Sequence[float] = ()
) -> Tensor:
    """Noise levels in (t_min, t_max], `[count]`: uniform, or logit-normal(0, 1) squeezed into the range.

    With `sampler` they are those of `sampled`, the sampler's own, that lie in the range, each as likely: the policy
    learns where it will be asked.

    Raises:
        BadInput: none of them lies in the range.
    """
    if settings.t_distribution == "sampler":
        levels = _within(settings, sampled)
        return levels[torch.randint(len(levels), (count,), generator=generator)]
    if settings.t_distribution == "uniform":
        unit = 1.0 - torch.rand(count, generator=generator)  # in (0, 1]: t = 0 is no noise level
    else:
        unit = torch.sigmoid(torch.randn(count, generator=generator))
    return settings.t_min + (settings.t_max - settings.t_min) * unit


def _within(settings: TrainSettings, sampled: Sequence[float]) -> Tensor:
    """Those of the sampler's levels that lie in the range.

    Raises:
        BadInput: none does.
    """
    levels = torch.tensor([level for level in sampled if settings.t_min <= level <= settings.t_max])
    if not len(levels):
        raise BadInput(
            f"train.t_min {settings.t_min} to train.t_max {settings.t_max} holds none of the sampler's noise "
            f"levels {[round(level, 3) for level in sampled]}: widen the range"
        )
    return levels


def draw_noise(
    settings: TrainSettings,
    step: int,
    lr_id: str,
    shape: tuple[int, ...],
    draws: int,
    sampled: Sequence[float] = (),
    occurrence: int = 0,
) -> tuple[Tensor, Tensor]:
    """t `[draws]` and epsilon `[draws, *shape]` for a group at a step: one draw a group, or one a pair.

    Args:
        sampled: the sampler's noise levels, see `draw_times`.
        occurrence: see `occurrences`; a second group of one LR in a step has a draw of its own.
    """
    drawn = draw(settings, step, lr_id, shape, draws, sampled, occurrence)
    return drawn.t, drawn.noise


@dataclass(frozen=True)
class Noised:
    """Draws of a group at a step: t `[draws]` and epsilon `[draws, *shape]`.

    `weight` `[draws]` is what each one's loss counts for; None where each counts once.
    """

    t: Tensor
    noise: Tensor
    weight: Tensor | None = None


def draw(
    settings: TrainSettings,
    step: int,
    lr_id: str,
    shape: tuple[int, ...],
    draws: int,
    sampled: Sequence[float] = (),
    occurrence: int = 0,
    place: Place = ALONE,
) -> Noised:
    """`draw_noise` as `t_draws`, `t_proposal` and `noise_draws` say; `place` is that of the group's levels in the step.

    With antithetic noise the draws 2m and 2m + 1 of a group share t, and have epsilon and -epsilon.
    """
    again = (occurrence,) if occurrence else ()
    generator = torch.Generator("cpu").manual_seed(seed_of("noise", settings.seed, step, lr_id, *again))
    count, weight = separate_draws(settings, draws), None
    if times.is_plain(settings):
        t = draw_times(settings, generator, count, sampled)
    else:
        unit = times.quantiles(settings, generator, step, place, count)
        if settings.t_proposal:
            unit, weight = times.proposed(unit, settings.t_proposal)
            weight = weight.float()
        levels = _within(settings, sampled) if settings.t_distribution == "sampler" else torch.empty(0)
        t = times.level_at(settings, unit, levels)
    noise = torch.randn((count, *shape), generator=generator)
    if count == draws:
        return Noised(t, noise, weight)
    numbers = torch.arange(draws)
    sign = (1.0 - 2.0 * (numbers % 2)).view(-1, *[1] * len(shape))
    first = numbers // 2
    return Noised(t[first], noise[first] * sign, None if weight is None else weight[first])


def separate_draws(settings: TrainSettings, draws: int) -> int:
    """How many levels and noises `draws` draws of a group are made of."""
    return -(-draws // 2) if settings.noise_draws == "antithetic" else draws


def pairs_of_step(settings: TrainSettings, step: int, group: Group, occurrence: int = 0) -> list[int]:
    """Which of a group's pairs a step takes, by number: all, or `pairs_per_group`, each as likely, drawn anew.

    Where every winner is paired with every loser, candidates are spread: none comes twice before all came once.
    """
    count = len(group.winner)
    wanted = settings.pairs_per_group
    if not wanted or wanted >= count:
        return list(range(count))
    generator = np.random.default_rng(seed_of("pairs", settings.seed, step, group.lr_id, group.preference, occurrence))
    number = {pair: place for place, pair in enumerate(zip(group.winner, group.loser, strict=True))}
    winners, losers = sorted(set(group.winner)), sorted(set(group.loser))
    if len(number) < count or count != len(winners) * len(losers):
        return sorted(generator.permutation(count)[:wanted].tolist())
    winners, losers = generator.permutation(winners).tolist(), generator.permutation(losers).tolist()
    both = math.lcm(len(winners), len(losers))
    return [
        number[winners[place % len(winners)], losers[(place + place // both) % len(losers)]] for place in range(wanted)
    ]


def draw_rollout(
    settings: TrainSettings, step: int, lr_id: str, shape: tuple[int, ...], candidates: int, occurrence: int
) -> Tensor:
    """Noise of a group's candidates `[candidates, *shape]` in the roll-out that begins at a step.

    Each has a draw of its own, which does not depend on how many there are.
    """
    keys = [seed_of("rollout", settings.seed, step, lr_id, occurrence, index) for index in range(candidates)]
    return torch.stack([torch.randn(shape, generator=torch.Generator("cpu").manual_seed(key)) for key in keys])


def told(settings: TrainSettings, step: int, lr_id: str, preference: float | None, occurrence: int) -> float | None:
    """The place on the dial that the policy is told of a group at a step; not a number where it is told none.

    None is told of a share `dial_dropout` of the groups, so that the policy can be asked without one; and of none of a
    negative step, which is not trained on.
    """
    if preference is None or step < 0:
        return preference
    key = seed_of("dial", settings.seed, step, lr_id, preference, occurrence)
    return math.nan if np.random.default_rng(key).random() < settings.dial_dropout else preference


def learning_rate(settings: TrainSettings, step: int) -> float:
    """Linear warm-up, then constant."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    return settings.learning_rate
