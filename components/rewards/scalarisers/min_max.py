"""The paper's reward: min-max in the group, then the mean of the two sides (docs/method.md, section 2). Pure."""

import numpy as np

from components.rewards.alignment import Values
from components.rewards.group import GroupScores, min_max
from components.rewards.sides import combine
from components.settings import SidesSettings


def min_max_rewards(scores: GroupScores, settings: SidesSettings) -> Values:
    """R in [0, 1], `[M]`; a group's rewards cannot be compared with another's."""
    stretched = np.stack([min_max(row) for row in scores.values])
    return combine(scores.by_metric(stretched), settings.fidelity, settings.realism)
