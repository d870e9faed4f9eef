"""Confidence intervals of paired comparisons by a bootstrap over clusters of images. Pure functions of arrays.

Rows are pairs: the same LR and the same noise under the base and under the aligned model. Rows are not independent:
seeds of one LR share its content, and so do crops of one photo. Resampling rows would count them as if they were, and
give intervals that are too narrow by up to the square root of the cluster's size. Whole clusters are therefore drawn
with replacement (cluster bootstrap; Field & Welsh, JRSS-B 69, 2007). The cluster to use is the source photo wherever it
is known: it is the unit that was sampled from the world, and it contains every LR cut from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean over rows with its expanded percentile interval, see `_tail`."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """True if the interval lies on one side of zero; a zero-width interval at zero does not."""
        return self.low > 0.0 or self.high < 0.0


@dataclass(frozen=True)
class TwoWay:
    """A mean with photos and training seeds both as random factors: its standard error, and t's degrees of freedom."""

    mean: float
    error: float
    freedom: float

    def reach(self, probability: float) -> float:
        """How far from the mean t's quantile of `probability` lies."""
        return float(stats.t.ppf(probability, self.freedom)) * self.error if self.error else 0.0


class ClusterBootstrap:
    """Resamples of clusters, drawn once, so that all metrics of one evaluation are judged on the same resamples."""

    def __init__(self, clusters: Sequence[str], resamples: int, confidence: float, seed: int) -> None:
        """Prepare for rows whose clusters are named in `clusters`, one a row.

        Raises:
            ValueError: there is no row.
        """
        if not len(clusters):
            raise ValueError("a bootstrap needs at least one row")
        names, self._members = np.unique(np.asarray(clusters), return_inverse=True)
        self.count = len(names)
        self._confidence = confidence
        tail = _tail(self.count, confidence)
        self._tails = (tail, 1.0 - tail)
        generator = np.random.default_rng(seed)
        # How often each cluster is drawn in each resample, `[resamples, clusters]`.
        self._draws = generator.multinomial(self.count, np.full(self.count, 1.0 / self.count), size=resamples)

    def mean(self, values: Values) -> Interval:
        """Mean of `values` `[rows]` with its interval. Rows that are NaN are left out.

        Clusters weigh by their rows, so the centre is the plain mean over rows.

        Raises:
            ValueError: all rows are NaN, or their number is not that of the clusters given at first.
        """
        if values.shape != self._members.shape:
            raise ValueError(f"{values.shape} values for {self._members.shape} rows")
        known = np.isfinite(values)
        if not known.any():
            raise ValueError("no finite value to average")
        centre = float(values[known].mean())
        # Around the centre, sums lose no digits: constant values give an interval of width zero exactly.
        sums = np.bincount(self._members[known], weights=values[known] - centre, minlength=self.count)
        counts = np.bincount(self._members[known], minlength=self.count)
        drawn = self._draws @ counts
        usable = drawn > 0  # a resample may consist of clusters without any known row
        means = (self._draws[usable] @ sums) / drawn[usable]
        low, high = np.quantile(means, self._tails)
        return Interval(centre, centre + float(low), centre + float(high))

    def over_seeds(self, values: Values) -> Interval:
        """Mean of `values` `[S, rows]` of S trainings, with photos and training seeds both as random factors.

        The variance of the mean is that over photos plus that over seeds, each from resamples of the one with the
        other as it is, and each widened for its small number; the interval is t's, with the degrees of freedom that
        Welch and Satterthwaite give the sum (Satterthwaite, Biometrics Bulletin 2, 1946).

        Raises:
            ValueError: there are fewer than two trainings or clusters, or a value is not finite.
        """
        if len(values) < 2:
            raise ValueError(f"{len(values)} trainings: two are needed")
        found = self.two_way(values)
        reach = found.reach(0.5 + self._confidence / 2.0)
        return Interval(found.mean, found.mean - reach, found.mean + reach)

    def two_way(self, values: Values) -> TwoWay:
        """Mean of `values` `[S, rows]` with its error, see `over_seeds`; of one training, over photos alone.

        Raises:
            ValueError: there is no training, fewer than two clusters, or a value is not finite.
        """
        seeds = len(values)
        if not seeds or self.count < 2 or not np.isfinite(values).all():
            raise ValueError(f"{seeds} trainings and {self.count} clusters of finite values: 1 and 2 are needed")
        of_seeds = values.mean(axis=1)
        clusters = np.array([values.mean(axis=0)[self._members == place].sum() for place in range(self.count)])
        sizes = np.bincount(self._members, minlength=self.count)
        means = (self._draws @ clusters) / (self._draws @ sizes)
        over_photos = float(means.var()) * self.count / (self.count - 1.0)
        between = float(of_seeds.var(ddof=1)) / seeds if seeds > 1 else 0.0
        centre, error = float(values.mean()), float(np.sqrt(over_photos + between))
        if error == 0.0:
            return TwoWay(centre, 0.0, self.count - 1.0)
        spread = over_photos**2 / (self.count - 1.0) + (between**2 / (seeds - 1.0) if between else 0.0)
        return TwoWay(centre, error, error**4 / spread)


def _tail(clusters: int, confidence: float) -> float:
    """The quantile at which an interval of `confidence` ends.

    A percentile interval of n clusters is too narrow, by sqrt((n - 1) / n) and by the normal's quantile in place of
    t's: with 22 photos it covers 93 % where 95 % is said. It therefore ends at the quantile where the normal lies as
    far out as t does (Hesterberg, The American Statistician 69, 2015: the expanded percentile interval).
    """
    if clusters < 2:
        return 0.5 - confidence / 2.0
    reach = np.sqrt(clusters / (clusters - 1.0)) * stats.t.ppf(0.5 + confidence / 2.0, clusters - 1)
    return float(stats.norm.sf(reach))


def wins(base: Values, aligned: Values) -> Values:
    """1 where the aligned value is higher, 0.5 where both are equal, 0 where it is lower; NaN where either is NaN."""
    result: Values = 0.5 + 0.5 * np.sign(aligned - base)
    return result
