"""How strong a preference is: the metrics as voters (Secrets of RLHF II, arXiv 2401.06080). Pure.

There the voters are reward models that were trained apart; here, as ours, they are the rewarded metrics.
"""

from dataclasses import replace

import numpy as np

from components.pair.pairs import Pair
from components.rewards.group import GroupScores
from components.settings import StrengthFilter


def strength(scores: GroupScores, pairs: list[Pair], settings: StrengthFilter) -> list[Pair]:
    """Flip, drop and annotate pairs by mu, the mean over metrics of (S_w - S_l)/tau, and by its spread.

    In this order: flip, drop, label_noise, margin. What the settings do not ask for stays as it was.
    """
    place = {index: position for position, index in enumerate(scores.indexes)}
    units = scores.values / np.where(scores.deviations > 0.0, scores.deviations, 1.0)[:, None]
    kept = []
    for pair in pairs:
        votes = units[:, place[pair.winner]] - units[:, place[pair.loser]]
        mu, disagreement = float(votes.mean()), float(votes.std())
        one = pair
        if settings.flip_below is not None and mu < settings.flip_below:
            one = pair.turned()
            mu = -mu
        if settings.drop_below is not None and abs(mu) < settings.drop_below:
            continue
        if settings.drop_spread is not None and disagreement > settings.drop_spread:
            continue
        if settings.soft_below is not None:
            unsure = abs(mu) < settings.soft_below
            one = replace(one, label_noise=0.5 - 0.5 * float(np.tanh(abs(mu))) if unsure else 0.0)
        if settings.margin_scale:
            one = replace(one, margin=max(settings.margin_scale * mu, 0.0))
        kept.append(one)
    return kept
