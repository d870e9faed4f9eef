"""Best, Mean and Worst of M samples (DP2O-SR, Fig. 5), as exact expectations over subsets. Pure functions of arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Reward of the best, the average and the worst of `samples` restorations of an LR, averaged over LRs."""

    samples: int
    best: float
    mean: float
    worst: float


def expected_best(values: Values, samples: int) -> float:
    """Expected maximum of a uniformly drawn subset of `samples` out of `values` `[K]`, without replacement.

    The i-th smallest of K (i from 1) is the maximum of C(i-1, M-1) of the C(K, M) subsets, so the expectation is a
    weighted sum of order statistics; no subset is drawn.

    Raises:
        ValueError: `samples` is not in 1..K.
    """
    count = len(values)
    if not 1 <= samples <= count:
        raise ValueError(f"cannot take {samples} of {count} values")
    subsets = comb(count, samples)
    weights = np.array([comb(position, samples - 1) / subsets for position in range(count)])
    return float(weights @ np.sort(values))


def expected_worst(values: Values, samples: int) -> float:
    """Expected minimum, as `expected_best`."""
    return -expected_best(-values, samples)


def spreads(groups: Sequence[Values]) -> list[Spread]:
    """Best/Mean/Worst@M of rewards `[K_i]` per LR, for M = 1, 2, 4, … and the largest M that every LR has samples for.

    Raises:
        ValueError: there is no group, or one without values.
    """
    smallest = min((len(group) for group in groups), default=0)
    if smallest == 0:
        raise ValueError("Best/Mean/Worst@M needs at least one value of every LR")
    sizes = sorted({2**power for power in range(smallest.bit_length()) if 2**power <= smallest} | {smallest})
    mean = float(np.mean([group.mean() for group in groups]))
    return [
        Spread(
            size,
            float(np.mean([expected_best(group, size) for group in groups])),
            mean,
            float(np.mean([expected_worst(group, size) for group in groups])),
        )
        for size in sizes
    ]
