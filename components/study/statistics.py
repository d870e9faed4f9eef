"""How sure a share of votes is, and how far raters agree. Pure functions of arrays.

Votes are not independent: one rater's votes share a taste, and all votes on the crops of one photo share its content.
Both are drawn from a world, and both are random factors here.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from components.judge.bootstrap import ClusterBootstrap

Places = NDArray[np.intp]


@dataclass(frozen=True)
class Share:
    """A mean of values in [0, 1] with its interval.

    Attributes:
        mean: over votes; None where there is no vote.
        low, high: None where there are too few raters and photos for an interval.
    """

    mean: float | None
    low: float | None
    high: float | None
    votes: int
    raters: int
    photos: int


def share(
    values: Sequence[float],
    raters: Sequence[str],
    photos: Sequence[str],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Share:
    """Mean of `values` with raters and photos both as random factors.

    The variance is that over whole photos, plus that over whole raters, less that over single votes, which both contain
    (Cameron, Gelbach & Miller, J. Business & Economic Statistics 29, 2011), but at least the larger of the first two.
    Each comes from a cluster bootstrap. The interval is t's, with the degrees of freedom that Welch and Satterthwaite
    give. With one rater it is over photos alone: it holds for that person. Where all votes are equal, nothing varies;
    the interval is then Clopper and Pearson's, of as many draws as there are photos, or raters if they are fewer.
    """
    array = np.asarray(values, np.float64)
    counts = (len(array), len(set(raters)), len(set(photos)))
    if not len(array):
        return Share(None, None, None, *counts)
    mean = float(array.mean())
    units = [found for found in counts[1:] if found > 1]
    if not units:
        return Share(mean, None, None, *counts)
    if array.min() == array.max() and mean in (0.0, 1.0):
        exact = stats.binomtest(round(mean * min(units)), min(units)).proportion_ci(confidence)
        return Share(mean, float(exact.low), float(exact.high), *counts)
    parts = []
    for clusters in (photos, raters):
        if len(set(clusters)) > 1:
            found = ClusterBootstrap(clusters, resamples, confidence, seed).two_way(array[None])
            parts.append((found.error**2, found.freedom))
    low, high = _interval(mean, parts, float(array.var()) / max(len(array) - 1, 1), confidence)
    return Share(mean, max(0.0, low), min(1.0, high), *counts)


def _interval(
    mean: float, parts: Sequence[tuple[float, float]], of_votes: float, confidence: float
) -> tuple[float, float]:
    """From the variances of the mean over each factor, with their degrees of freedom."""
    variances = [variance for variance, _ in parts]
    total = max(*variances, sum(variances) - of_votes) if len(parts) > 1 else variances[0]
    spread = sum(variance**2 / freedom for variance, freedom in parts)
    if spread == 0.0:
        return mean, mean
    freedom = max(min(freedom for _, freedom in parts), sum(variances) ** 2 / spread)
    reach = float(stats.t.ppf(0.5 + confidence / 2.0, freedom)) * total**0.5
    return mean - reach, mean + reach


def alpha(values: Sequence[float], raters: Sequence[str], units: Sequence[str]) -> float | None:
    """Krippendorff's alpha of votes on comparisons, with the interval metric: a tie lies half-way between two sides.

    1 is full agreement, 0 is that of coins, below 0 is systematic disagreement. Which picture of a comparison is called
    the first is arbitrary, so that chance is that of both orders together: raters who all prefer one model do agree.
    None where no comparison has two raters, or nobody ever chose a side.

    Args:
        values: 1, 0.5 or 0: the first picture's part of the vote.
    """
    by_unit: dict[str, dict[str, float]] = defaultdict(dict)
    for value, rater, unit in zip(values, raters, units, strict=True):
        by_unit[unit][rater] = value
    groups = [np.array(list(own.values())) for own in by_unit.values() if len(own) > 1]
    if not groups:
        return None
    count = sum(len(group) for group in groups)
    observed = sum(float(((group[:, None] - group) ** 2).sum()) / (len(group) - 1) for group in groups) / count
    every = np.concatenate([*groups, *(1.0 - group for group in groups)])  # [2 count]
    expected = float(((every[:, None] - every) ** 2).sum()) / (len(every) * (len(every) - 1))
    return None if expected == 0.0 else 1.0 - observed / expected
