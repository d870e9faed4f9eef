"""Rewards of the candidates of one LR (DP2O-SR, section 3.2). Pure."""

from collections.abc import Mapping

import numpy as np

from components.rewards.alignment import Values, align, finite
from components.rewards.sides import combine


def min_max(aligned: Values) -> Values:
    """Min-max of one metric within a group: (s - min) / (max - min); a constant metric says nothing: 0.5."""
    low, high = aligned.min(), aligned.max()
    if high == low:
        return np.full_like(aligned, 0.5)
    normalised: Values = (aligned - low) / (high - low)
    return normalised


def group_rewards(scores: Mapping[str, Values]) -> Values:
    """Rewards R in [0, 1] of the M candidates of one LR, `[M]` float64, from raw values `[M]` per rewarded metric.

    Not comparable between groups or models: every metric is normalised within the group.

    Raises:
        ValueError: a score is not finite; such candidates are quarantined before.
        BadInput: the metrics do not make a reward, see `combine`.
    """
    return combine({name: min_max(align(name, raw)) for name, raw in finite(scores).items()})
