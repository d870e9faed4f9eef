"""A reward in units of what all groups together differ by. Pure.

Unlike min-max it does not stretch every group to [0, 1], so that gaps and spreads of groups can be compared; unlike win
rates it is linear in the scores.
"""

import numpy as np

from components.rewards.alignment import Values
from components.rewards.group import GroupScores
from components.rewards.sides import combine
from components.settings import PooledScalariser


def pooled_rewards(scores: GroupScores, settings: PooledScalariser) -> Values:
    """R = 1/2 + (s - the group's mean) / (width tau), then the mean of the sides, `[M]`; the group's mean is 1/2.

    A metric that never varies (tau 0) says nothing: 1/2. R may leave [0, 1], as nothing is clipped.
    """
    tau = np.where(scores.deviations > 0.0, scores.deviations, 1.0)[:, None]
    centred = scores.values - scores.values.mean(axis=1, keepdims=True)
    return combine(scores.by_metric(0.5 + centred / (settings.width * tau)), settings.fidelity, settings.realism)
