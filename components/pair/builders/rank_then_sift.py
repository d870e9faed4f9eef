"""Rank in twos, then sift by score (UnifiedReward, arXiv 2503.05236). Pure.

There a vision-language model compares and scores. Here the judge is one of score.judges, by its win rate, or a side of
the reward, and the scorer is a side, which is ours; so is N above 1. Scores are compared as numbers.
"""

import numpy as np

from components.pair.pairs import Pair, rank
from components.rewards.alignment import Values
from components.rewards.group import GroupScores
from components.rewards.sides import sides
from components.settings import RankThenSiftBuilder
from components.storage.digests import seed_of


def rank_then_sift(scores: GroupScores, rewards: Values, settings: RankThenSiftBuilder) -> list[Pair]:
    """Top N of the chosen x bottom N of the rejected, where the score of the one is above that of the other.

    M candidates make M/2 comparisons that share nobody; one that the judge cannot decide rejects nobody and chooses
    nobody.
    """
    by_judge = scores.judged.get(settings.judge)
    judged = side_means(scores, settings.judge) if by_judge is None else by_judge
    scored = side_means(scores, settings.scorer)
    drawn = np.random.default_rng(seed_of("rank then sift", settings.seed, scores.lr_id)).permutation(len(rewards))
    chosen, rejected = [], []
    for one, other in zip(drawn[0::2], drawn[1::2], strict=False):  # of an odd number one meets nobody
        if judged[one] != judged[other]:
            first, second = (one, other) if judged[one] > judged[other] else (other, one)
            chosen.append(int(first))
            rejected.append(int(second))

    def by_score(places: list[int]) -> list[int]:
        order = rank([scores.indexes[place] for place in places], scored[places])
        return [places[position] for position in order]

    return [
        Pair(scores.indexes[winner], scores.indexes[loser], float(rewards[winner] - rewards[loser]))
        for winner in by_score(chosen)[: settings.top]
        for loser in by_score(rejected)[::-1][: settings.top]
        if scored[winner] > scored[loser]
    ]


def side_means(scores: GroupScores, side: str) -> Values:
    """Mean over a side's metrics `[M]`, each in units of its deviation within groups."""
    fidelity, realism = sides(scores.metrics)
    units = scores.values / np.where(scores.deviations > 0.0, scores.deviations, 1.0)[:, None]
    by_metric = scores.by_metric(units)
    means: Values = np.mean([by_metric[name] for name in (fidelity if side == "fidelity" else realism)], axis=0)
    return means
