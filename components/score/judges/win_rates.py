"""From comparisons to a number a candidate (UnifiedReward-Flex, arXiv 2602.02380). Pure."""

from collections.abc import Iterable, Mapping

import numpy as np

from components.rewards.alignment import Values
from components.score.judges.questions import FIRST, OVERALL, SECOND

OF_DIMENSIONS, OF_OVERALL = 0.7, 0.3
"""Shares of the dimensions' mean and of the overall verdict, as published."""


def win_rates(count: int, verdicts: Iterable[tuple[int, int, int | None]]) -> Values:
    """Share of its comparisons that each of `count` candidates won, `[count]`; a tie and no verdict are half a win.

    `verdicts`: position shown first, position shown second, who won. Who met nobody has 1/2.
    """
    won, met = np.zeros(count), np.zeros(count)
    for first, second, verdict in verdicts:
        share = {FIRST: 1.0, SECOND: 0.0}.get(verdict, 0.5) if verdict is not None else 0.5
        won[first] += share
        won[second] += 1.0 - share
        met[[first, second]] += 1
    rates: Values = np.where(met > 0, won / np.maximum(met, 1), 0.5)
    return rates


def combined(rates: Mapping[str, Values]) -> Values:
    """R = .7 mean over dimensions + .3 overall, `[M]`, from win rates `[M]` by dimension; R has mean 1/2."""
    of_dimensions = [values for name, values in rates.items() if name != OVERALL]
    result: Values = OF_DIMENSIONS * np.mean(of_dimensions, axis=0) + OF_OVERALL * rates[OVERALL]
    return result
