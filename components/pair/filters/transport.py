"""Margins by optimal transport from winners to losers (APLOT, arXiv 2510.10963, as others tell it). Pure.

There candidates are compared by a network's features. What the pair stage knows are scores: the features here are a
candidate's scores, which is ours, and so are the units of rewards.
"""

from dataclasses import replace

import numpy as np
from scipy.special import expit

from components.pair.pairs import Pair
from components.rewards.alignment import Values
from components.rewards.group import GroupScores
from components.settings import TransportFilter


def transport(scores: GroupScores, pairs: list[Pair], settings: TransportFilter) -> list[Pair]:
    """Each pair with margin = scale * its winner's mean cost of transport to the group's losers, at least 0."""
    winners, losers = (sorted({getattr(pair, name) for pair in pairs}) for name in ("winner", "loser"))
    place = {index: position for position, index in enumerate(scores.indexes)}
    costs = cost(scores, [place[one] for one in winners], [place[one] for one in losers], settings.likeness)
    plan = sinkhorn(costs, settings.regularisation, settings.iterations)
    of_winner = dict(zip(winners, (plan * costs).sum(axis=1) * (len(winners) if settings.row_norm else 1), strict=True))
    return [replace(pair, margin=max(settings.scale * float(of_winner[pair.winner]), 0.0)) for pair in pairs]


def cost(scores: GroupScores, winners: list[int], losers: list[int], likeness: float) -> Values:
    """C `[W, L]` = (1 - likeness) (1 - sigmoid(|r_w - r_l|)) + likeness cos(h_w, h_l): high where two are alike.

    h are the scores in units of their deviation within groups, less the group's mean; r is the mean of a candidate's.
    """
    units = scores.values / np.where(scores.deviations > 0.0, scores.deviations, 1.0)[:, None]
    features = (units - units.mean(axis=1, keepdims=True)).T  # [M, K]
    rewards = features.mean(axis=1)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    directions = features / np.where(lengths > 0.0, lengths, 1.0)
    apart = np.abs(rewards[winners][:, None] - rewards[losers][None, :])
    alike = directions[winners] @ directions[losers].T
    costs: Values = (1.0 - likeness) * (1.0 - expit(apart)) + likeness * alike
    return costs


def sinkhorn(costs: Values, regularisation: float, iterations: int) -> Values:
    """Plan `[W, L]` of uniform marginals with an entropy term (Cuturi, NeurIPS 2013), in logarithms, by POT.

    All iterations are done, and the last half-step is that of the winners: rows sum to 1/W exactly, columns to 1/L
    nearly.
    """
    import ot  # type: ignore[import-untyped]  # noqa: PLC0415  # seconds; other filters need none of it

    rows, columns = costs.shape
    plan: Values = ot.sinkhorn(
        np.full(rows, 1.0 / rows),
        np.full(columns, 1.0 / columns),
        costs,
        regularisation,
        method="sinkhorn_log",
        numItermax=iterations,
        stopThr=0.0,
        warn=False,
    )
    return plan
