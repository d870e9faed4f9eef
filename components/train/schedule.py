"""What a training step sees, as a function of (seed, step, LR) alone. Pure.

There is no generator whose state could be lost or depend on the number of processes: a resumed run, and a run on two
processes, draw exactly what an undisturbed run on one draws.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from components.artifacts.digests import seed_of
from components.settings import TrainSettings


def groups_of_step(lr_ids: Sequence[str], step: int, per_step: int, seed: int) -> list[str]:
    """LR ids of optimiser step `step` (from 0): the next `per_step` of an endless sequence of shuffled epochs."""
    places = [divmod(position, len(lr_ids)) for position in range(step * per_step, (step + 1) * per_step)]
    orders = {
        epoch: np.random.default_rng(seed_of("order", seed, epoch)).permutation(len(lr_ids))
        for epoch in {epoch for epoch, _ in places}
    }
    return [lr_ids[int(orders[epoch][place])] for epoch, place in places]


def draw_times(settings: TrainSettings, generator: torch.Generator, count: int) -> Tensor:
    """Noise levels in (t_min, t_max], `[count]`: uniform, or logit-normal(0, 1) squeezed into the range."""
    if settings.t_distribution == "uniform":
        unit = 1.0 - torch.rand(count, generator=generator)  # in (0, 1]: t = 0 is no noise level
    else:
        unit = torch.sigmoid(torch.randn(count, generator=generator))
    return settings.t_min + (settings.t_max - settings.t_min) * unit


def draw_noise(
    settings: TrainSettings, step: int, lr_id: str, shape: tuple[int, ...], draws: int
) -> tuple[Tensor, Tensor]:
    """t `[draws]` and epsilon `[draws, *shape]` for a group at a step: one draw a group, or one a pair."""
    generator = torch.Generator("cpu").manual_seed(seed_of("noise", settings.seed, step, lr_id))
    return draw_times(settings, generator, draws), torch.randn((draws, *shape), generator=generator)


def learning_rate(settings: TrainSettings, step: int) -> float:
    """Linear warm-up, then constant."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    return settings.learning_rate
