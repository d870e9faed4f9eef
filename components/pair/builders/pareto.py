"""The first against the last Pareto front of win rates (CaPO, arXiv 2502.02588, as others tell it). Pure.

Which metrics are the axes, and what stands in for an empty front, is ours.
"""

import numpy as np

from components.pair.pairs import Pair
from components.rewards.alignment import Values
from components.rewards.group import GroupScores, win_rates
from components.rewards.sides import sides
from components.settings import ParetoBuilder

MOST_METRICS = 3
"""With more axes than this hardly anybody is beaten in everything."""


def pareto(scores: GroupScores, rewards: Values, settings: ParetoBuilder) -> list[Pair]:
    """All pairs of X+ (whom nobody dominates) with X- (who dominate nobody); who is in both is left out.

    The target of a pair is the difference of the mean win rates over the axes; it may be negative, where the loser is
    ahead in one axis by more than it is behind in the others. The weights of a group's pairs sum to 1. Where a front is
    empty, the best by the mean stands against the worst; none if those are equal.
    """
    rates = axes_of(scores, win_rates(scores.values, scores.deviations), settings)
    first, second = rates[:, :, None], rates[:, None, :]
    dominates = np.logical_and((first >= second).all(axis=0), (first > second).any(axis=0))  # [M, M]
    best, worst = ~dominates.any(axis=0), ~dominates.any(axis=1)
    winners, losers = np.flatnonzero(best & ~worst), np.flatnonzero(worst & ~best)
    mean = rates.mean(axis=0)
    empty = not (len(winners) and len(losers))
    if empty:
        winners, losers = np.array([np.argmax(mean)]), np.array([np.argmin(mean)])
        if mean[winners[0]] == mean[losers[0]]:
            return []
    weight = 1.0 / (len(winners) * len(losers))
    return [
        Pair(
            scores.indexes[winner],
            scores.indexes[loser],
            gap=float(rewards[winner] - rewards[loser]),
            target=float(mean[winner] - mean[loser]),
            weight=weight,
            stand_in=empty,
        )
        for winner in winners
        for loser in losers
    ]


def axes_of(scores: GroupScores, rates: Values, settings: ParetoBuilder) -> Values:
    """Axes `[A, M]`: the metrics' win rates `[K, M]`, or the means of the sides."""
    by_side = settings.axes == "sides" or (settings.axes is None and len(rates) > MOST_METRICS)
    if not by_side:
        return rates
    by_metric = scores.by_metric(rates)
    means: Values = np.stack(
        [np.mean([by_metric[name] for name in names], axis=0) for names in sides(scores.metrics) if names]
    )
    return means
