"""Noise levels of a step's draws: each by itself, or spread over the step; as they are, or where the signal is. Pure.

Every way leaves the distribution of a single draw, times its weight, as it is. So the expected gradient is the same,
and only its noise differs.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from components.settings import TrainSettings
from components.storage.digests import seed_of


@dataclass(frozen=True)
class Place:
    """Which of a step's draws are asked for: a group's own, from `first` on, of `total` in all groups."""

    first: int
    total: int


ALONE = Place(0, 1)
"""Of a draw that belongs to no step."""


def is_plain(settings: TrainSettings) -> bool:
    """Whether each level is drawn by itself, and from the distribution that is asked for."""
    return settings.t_draws == "independent" and not settings.t_proposal


def quantiles(settings: TrainSettings, generator: torch.Generator, step: int, place: Place, count: int) -> Tensor:
    """Where draws stand in the distribution of levels, `[count]` float64 in (0, 1]; each is uniform by itself.

    stratified: one draw of the step in each of as many equal parts. antithetic: draws 2m and 2m + 1 at u and 1 - u.
    """
    unit = 1.0 - torch.rand(count, generator=generator, dtype=torch.float64)
    if settings.t_draws == "independent":
        return unit
    total = max(place.total, place.first + count)
    own = slice(place.first, place.first + count)
    if settings.t_draws == "stratified":
        parts = np.random.default_rng(seed_of("strata", settings.seed, step)).permutation(total)[own]
        return (torch.from_numpy(parts) + unit) / total
    shared = np.random.default_rng(seed_of("antithetic", settings.seed, step)).random(-(-total // 2))
    both = np.stack([1.0 - shared, np.maximum(shared, np.finfo(float).tiny)], axis=1).reshape(-1)
    return torch.from_numpy(both[own])


def proposed(unit: Tensor, proposal: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Quantiles that are drawn as often as `proposal` says, and the weights that make up for it; both `[count]`.

    Args:
        unit: uniform in (0, 1].
        proposal: how often each of as many equally likely parts of (0, 1] is drawn, up to a factor; all above 0.
    """
    shares = torch.tensor(proposal, dtype=torch.float64)
    shares = shares / shares.sum()
    ends = shares.cumsum(0)
    ends[-1] = 1.0
    part = torch.searchsorted(ends, unit)  # the first part whose end is not below
    starts = ends - shares
    inside = ((unit - starts[part]) / shares[part]).clamp(torch.finfo(torch.float64).tiny, 1.0)
    return (part + inside) / len(shares), 1.0 / (len(shares) * shares[part])


def level_at(settings: TrainSettings, unit: Tensor, levels: Tensor) -> Tensor:
    """The noise level at each quantile `[count]`, float32; `levels` `[L]` are the sampler's within the range."""
    if settings.t_distribution == "sampler":
        return levels[(unit * len(levels)).ceil().long().clamp(1, len(levels)) - 1]
    if settings.t_distribution == "logit_normal":
        tiny = torch.finfo(torch.float64).eps
        unit = torch.sigmoid(math.sqrt(2.0) * torch.erfinv(2.0 * unit.clamp(tiny, 1.0 - tiny) - 1.0))
    return (settings.t_min + (settings.t_max - settings.t_min) * unit).float()
