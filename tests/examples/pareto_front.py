"""A pair builder of one's own: who is worse in nothing wins over who is better in nothing."""

from typing import ClassVar

import numpy as np

from components.pair.builders import Builder
from components.pair.pairs import Pair
from components.rewards.alignment import Values
from components.rewards.group import GroupScores
from components.settings import BuilderSettings, Count


class FrontSettings(BuilderSettings):
    """What `pair.builder` takes beside `kind`.

    Attributes:
        most: pairs of a group that are kept, those with the largest target.
    """

    gives: ClassVar[tuple[str, ...]] = ("target",)
    most: Count = 16


def pareto_front(scores: GroupScores, rewards: Values, settings: FrontSettings) -> list[Pair]:
    """Pairs of the first with the last Pareto front of `[K, M]` scores; who is in both is left out.

    The target is the mean difference over metrics, each in units of its deviation within groups.
    """
    first, second = scores.values[:, :, None], scores.values[:, None, :]
    dominates = (first >= second).all(axis=0) & (first > second).any(axis=0)  # [M, M]
    winners = ~dominates.any(axis=0) & dominates.any(axis=1)
    losers = ~dominates.any(axis=1) & dominates.any(axis=0)
    units = (scores.values / np.where(scores.deviations > 0, scores.deviations, 1.0)[:, None]).mean(axis=0)
    pairs = [
        Pair(
            scores.indexes[winner],
            scores.indexes[loser],
            gap=float(rewards[winner] - rewards[loser]),
            target=float(units[winner] - units[loser]),
        )
        for winner in np.flatnonzero(winners)
        for loser in np.flatnonzero(losers)
    ]
    return sorted(pairs, key=lambda pair: -(pair.target or 0.0))[: settings.most]


PARETO_FRONT = Builder(FrontSettings, pareto_front)
