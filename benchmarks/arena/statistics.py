"""How sure a difference between trainings is. Pure functions of arrays.

A training is drawn as a photo is: another seed gives another model. Intervals that know of photos alone say how this
one model does on other photos; here photos and training seeds are both random factors (`ClusterBootstrap.two_way`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import stats

from components.judge.bootstrap import ClusterBootstrap, TwoWay, Values

POWER = 0.8
"""Chance with which the smallest detectable effect is found."""

Name = TypeVar("Name")


@dataclass(frozen=True)
class Estimate:
    """A difference with what may be said of it.

    Attributes:
        mean: over photos and seeds.
        low, high: its interval.
        p: two-sided, of no difference.
        detectable: the smallest true difference that this design finds with a chance of `POWER`.
        bound: with the interval's confidence the true difference is smaller than this, whatever its sign.
    """

    mean: float
    low: float
    high: float
    p: float
    detectable: float
    bound: float


def estimate(found: TwoWay, confidence: float) -> Estimate:
    """From a mean and its error: t's interval, its test, and what the design could have seen.

    `bound` is the farther end of the interval that leaves out 1 - confidence on each side (two one-sided tests;
    Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15, 1987). `detectable` adds the quantiles of the level and of
    the power, as sample sizes are planned.
    """
    reach = found.reach(0.5 + confidence / 2.0)
    one_sided = found.reach(confidence)
    p = float(2.0 * stats.t.sf(abs(found.mean) / found.error, found.freedom)) if found.error else float(found.mean == 0)
    return Estimate(
        mean=found.mean,
        low=found.mean - reach,
        high=found.mean + reach,
        p=p,
        detectable=reach + found.reach(POWER),
        bound=abs(found.mean) + one_sided,
    )


def paired(
    left: Sequence[Values], right: Sequence[Values], bootstrap: ClusterBootstrap, confidence: float
) -> Estimate | None:
    """`left` less `right`, paired by training seed and by restoration.

    Args:
        left, right: a figure's values `[rows]` of each training, in the same order of seeds; the base, which no seed
            changes, is repeated.
        bootstrap: of the rows' photos.
        confidence: of the interval.

    Returns:
        None where there is no training on both sides, or a value is missing.
    """
    values = np.stack(left) - np.stack(right) if left and right else np.empty((0, 0))
    if not values.size or not np.isfinite(values).all():
        return None
    return estimate(bootstrap.two_way(values), confidence)


def holm(p: Mapping[Name, float]) -> dict[Name, float]:
    """p-values adjusted so that one error among all is as likely as the level (Holm, Scand. J. Statistics 6, 1979)."""
    adjusted: dict[Name, float] = {}
    highest = 0.0
    for place, name in enumerate(sorted(p, key=lambda name: p[name])):
        highest = max(highest, min(1.0, (len(p) - place) * p[name]))
        adjusted[name] = highest
    return adjusted
