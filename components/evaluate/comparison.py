"""From measurements of base and aligned model to the figures of reports/evaluation.json. Pure."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.artifacts.evaluation import BestMeanWorst, Comparison, Difference, Estimate, Spreads, Verdict
from components.errors import BadInput
from components.evaluate.spread import Spread, spreads
from components.judge.bootstrap import ClusterBootstrap, Interval, wins
from components.judge.measure import Measurement
from components.metrics.table import info

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """Measurements of one model that have a reward, and the rewards, row by row."""

    measurements: Sequence[Measurement]
    rewards: Sequence[float]

    @classmethod
    def of(cls, measurements: Sequence[Measurement], rewards: Sequence[float | None]) -> "Scored":
        """Leave out the rows without a reward."""
        kept = [(row, value) for row, value in zip(measurements, rewards, strict=True) if value is not None]
        return cls([row for row, _ in kept], [value for _, value in kept])

    def of_images(self, lr_ids: Container[str]) -> "Scored":
        """The rows of some LR images."""
        kept = [pair for pair in zip(self.measurements, self.rewards, strict=True) if pair[0].lr_id in lr_ids]
        return Scored([row for row, _ in kept], [reward for _, reward in kept])

    def groups(self) -> list[Values]:
        """Rewards of each LR's restorations."""
        collected: dict[str, list[float]] = {}
        for row, reward in zip(self.measurements, self.rewards, strict=True):
            collected.setdefault(row.lr_id, []).append(reward)
        return [np.array(collected[lr_id]) for lr_id in sorted(collected)]

    def table(self, metrics: Sequence[str]) -> dict[tuple[str, int], dict[str, float]]:
        """Reward and metrics by (lr_id, index), NaN where a metric has no value."""
        return {
            (row.lr_id, row.index): {"reward": reward, **{name: row.values.get(name, np.nan) for name in metrics}}
            for row, reward in zip(self.measurements, self.rewards, strict=True)
        }


def compare(
    base: Scored,
    aligned: Scored,
    metrics: Sequence[str],
    rewarded: Sequence[str],
    photos: Mapping[str, str],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> Comparison:
    """Figures of a paired comparison; rows pair by (lr_id, index), where the noise is the same.

    Args:
        metrics: names of all metrics; those no row has a value of are left out.
        rewarded: the metrics that are in the reward.
        photos: source photo by lr_id: the clusters of the bootstrap.
        resamples: bootstrap resamples.
        confidence: of the intervals, e.g. 0.95.
        seed: of the bootstrap.

    Raises:
        BadInput: no row has a reward under both models.
    """
    left, right = base.table(metrics), aligned.table(metrics)
    keys = sorted(left.keys() & right.keys())
    if not keys:
        raise BadInput("no restoration has a reward under both the base and the aligned model; see the failures above")
    bootstrap = ClusterBootstrap([photos[lr_id] for lr_id, _ in keys], resamples, confidence, seed)

    def column(table: dict[tuple[str, int], dict[str, float]], name: str) -> Values:
        return np.array([table[key][name] for key in keys])

    def figures(name: str, higher_is_better: bool, in_reward: bool) -> Difference:
        return _difference(bootstrap, column(left, name), column(right, name), higher_is_better, in_reward)

    won = bootstrap.mean(wins(column(left, "reward"), column(right, "reward")))
    known = [name for name in metrics if np.isfinite(column(left, name) + column(right, name)).any()]
    return Comparison(
        images=len({lr_id for lr_id, _ in keys}),
        photos=bootstrap.count,
        pairs=len(keys),
        confidence=confidence,
        reward=figures("reward", True, True),
        win_rate=Estimate(value=won.mean, ci_low=won.low, ci_high=won.high),
        metrics={name: figures(name, info(name).higher_is_better, name in rewarded) for name in known},
        best_mean_worst=Spreads(base=_by_size(spreads(base.groups())), aligned=_by_size(spreads(aligned.groups()))),
    )


def _difference(
    bootstrap: ClusterBootstrap, before: Values, after: Values, higher_is_better: bool, in_reward: bool
) -> Difference:
    """One measure of base and aligned model, `[B]` each, in pairs; NaN where it has no value."""
    both = np.isfinite(before) & np.isfinite(after)
    difference = bootstrap.mean(after - before)
    return Difference(
        base=float(before[both].mean()),
        aligned=float(after[both].mean()),
        difference=difference.mean,
        ci_low=difference.low,
        ci_high=difference.high,
        spread=float(before[both].std()),
        higher_is_better=higher_is_better,
        in_reward=in_reward,
        verdict=verdict(difference, higher_is_better),
    )


def verdict(difference: Interval, higher_is_better: bool) -> Verdict:
    """`better` or `worse` if the interval excludes zero, else `no significant change`."""
    if not difference.excludes_zero:
        return "no significant change"
    return "better" if (difference.mean > 0.0) == higher_is_better else "worse"


def _by_size(found: Sequence[Spread]) -> dict[str, BestMeanWorst]:
    # Keyed by M rather than listed: `dvc metrics` shows dictionaries of numbers and no lists.
    return {
        str(spread.samples): BestMeanWorst(best=spread.best, mean=spread.mean, worst=spread.worst) for spread in found
    }


def means(scored: Scored, metrics: Sequence[str]) -> dict[str, float]:
    """Mean reward and mean of each metric of one model, over the rows that have it."""
    table = list(scored.table(metrics).values())
    columns = {name: np.array([row[name] for row in table]) for name in ["reward", *metrics]}
    return {name: float(np.nanmean(column)) for name, column in columns.items() if np.isfinite(column).any()}


def held_out_worse(compared: Comparison) -> list[str]:
    """Metrics outside the reward that got significantly worse."""
    return [name for name, row in compared.held_out.items() if row.verdict == "worse"]


def headline(compared: Comparison) -> str:
    """One line that says what changed."""
    reward, won = compared.reward, compared.win_rate
    return (
        f"reward {reward.base:.4f} -> {reward.aligned:.4f} (difference {reward.difference:+.4f}, "
        f"{compared.confidence:.0%} CI {reward.ci_low:+.4f} .. {reward.ci_high:+.4f}), "
        f"win rate {won.value:.1%} ({won.ci_low:.1%} .. {won.ci_high:.1%}); "
        f"held-out metrics significantly worse: {', '.join(held_out_worse(compared)) or 'none'}"
    )
