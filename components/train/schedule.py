"""What a training step sees, as a function of (seed, step, LR) alone. Pure.

There is no generator whose state could be lost or depend on the number of processes: a resumed run, and a run on two
processes, draw exactly what an undisturbed run on one draws.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from components.errors import BadInput
from components.settings import TrainSettings
from components.storage.digests import seed_of


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
        levels = torch.tensor([level for level in sampled if settings.t_min <= level <= settings.t_max])
        if not len(levels):
            raise BadInput(
                f"train.t_min {settings.t_min} to train.t_max {settings.t_max} holds none of the sampler's noise "
                f"levels {[round(level, 3) for level in sampled]}: widen the range"
            )
        return levels[torch.randint(len(levels), (count,), generator=generator)]
    if settings.t_distribution == "uniform":
        unit = 1.0 - torch.rand(count, generator=generator)  # in (0, 1]: t = 0 is no noise level
    else:
        unit = torch.sigmoid(torch.randn(count, generator=generator))
    return settings.t_min + (settings.t_max - settings.t_min) * unit


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
    again = (occurrence,) if occurrence else ()
    generator = torch.Generator("cpu").manual_seed(seed_of("noise", settings.seed, step, lr_id, *again))
    return draw_times(settings, generator, draws, sampled), torch.randn((draws, *shape), generator=generator)


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
