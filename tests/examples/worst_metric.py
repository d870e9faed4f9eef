"""A scalariser of one's own: a restoration is as good as the metric that likes it least."""

import numpy as np

from components.rewards.alignment import Values
from components.rewards.group import GroupScores, min_max
from components.rewards.scalarisers import Scalariser
from components.settings import Fraction, ScalariserSettings


class WorstMetricSettings(ScalariserSettings):
    """What `pair.scalariser` takes beside `kind`.

    Attributes:
        mean_share: how much the mean over metrics counts beside the worst, 0 to 1.
    """

    mean_share: Fraction = 0.0


def worst_metric(scores: GroupScores, settings: WorstMetricSettings) -> Values:
    """Rewards in [0, 1], `[M]`, from `[K, M]` scores of which higher is better."""
    stretched = np.stack([min_max(row) for row in scores.values])
    mean, worst = stretched.mean(axis=0), stretched.min(axis=0)
    rewards: Values = settings.mean_share * mean + (1.0 - settings.mean_share) * worst
    return rewards


WORST_METRIC = Scalariser(WorstMetricSettings, worst_metric)
