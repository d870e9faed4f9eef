"""Scores of the candidates of one LR, and their reward by the method (docs/method.md, section 2). Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from components.rewards.alignment import Values, align, finite
from components.rewards.sides import combine


@dataclass(frozen=True)
class Voted:
    """Two candidates that people were shown, by their indexes.

    Attributes:
        votes: how many people answered.
        first_votes: how many preferred the first; who saw no difference counts half.
    """

    first: int
    second: int
    votes: int
    first_votes: float


@dataclass(frozen=True)
class GroupScores:
    """What is known of a group.

    Attributes:
        lr_id: of its LR.
        indexes: candidate indexes, `[M]`.
        metrics: rewarded metrics, and judges that are rewarded beside them, `[K]`.
        values: direction-aligned scores, higher is better, `[K, M]`.
        deviations: tau of each metric, its standard deviation within groups over all groups, in its unit, `[K]`.
        votes: what people said of its candidates; empty where nobody was asked.
        judged: scores `[M]` of the judges that the builder asks, by kind, rewarded or not.
    """

    lr_id: str
    indexes: tuple[int, ...]
    metrics: tuple[str, ...]
    values: Values
    deviations: Values
    votes: tuple[Voted, ...] = ()
    judged: Mapping[str, Values] = field(default_factory=dict)

    def by_metric(self, values: Values) -> dict[str, Values]:
        """Rows of `values`, `[K, M]`, by metric."""
        return dict(zip(self.metrics, values, strict=True))


def aligned(scores: Mapping[str, Values]) -> Values:
    """Direction-aligned scores `[K, M]` from raw values `[M]` a metric.

    Raises:
        ValueError: a score is not finite; such candidates are quarantined before.
    """
    return np.stack([align(name, raw) for name, raw in finite(scores).items()])


def deviations(groups: Iterable[Mapping[str, Values]]) -> dict[str, float]:
    """tau of each metric: root of the mean squared distance of a score from its group's mean, over all groups.

    `groups`: direction-aligned or raw values `[M]` a metric, of each group; not all need have the same metrics.
    """
    squares: dict[str, list[Values]] = {}
    for group in groups:
        for name, values in group.items():
            squares.setdefault(name, []).append((values - values.mean()) ** 2)
    return {name: float(np.sqrt(np.concatenate(found).mean())) for name, found in squares.items()}


def min_max(aligned: Values) -> Values:
    """Min-max of one metric within a group: (s - min) / (max - min); a constant metric says nothing: 0.5."""
    low, high = aligned.min(), aligned.max()
    if high == low:
        return np.full_like(aligned, 0.5)
    normalised: Values = (aligned - low) / (high - low)
    return normalised


def win_rates(values: Values, tau: Values) -> Values:
    """Win rates `[K, M]` of direction-aligned scores `[K, M]`: 1/(M-1) sum over j != i of sigmoid((S_i - S_j)/tau).

    A metric's mean over the group is 1/2. A metric that never varies (tau 0) says nothing: 1/2. As CaPO calibrates
    rewards (arXiv 2502.02588, as told by others); that tau is pooled over all groups is ours.
    """
    scale = np.where(tau > 0.0, tau, 1.0)[:, None, None]
    differences = (values[:, :, None] - values[:, None, :]) / scale
    wins = 0.5 * (1.0 + np.tanh(0.5 * differences))
    rates: Values = (wins.sum(axis=2) - 0.5) / (values.shape[1] - 1)
    return rates


def group_rewards(scores: Mapping[str, Values], fidelity: float = 0.5, realism: float = 0.5) -> Values:
    """Rewards R in [0, 1] of the M candidates of one LR, `[M]` float64, from raw values `[M]` per rewarded metric.

    Not comparable between groups or models: every metric is normalised within the group.

    Raises:
        ValueError: a score is not finite; such candidates are quarantined before.
        BadInput: the metrics do not make a reward, see `combine`.
    """
    return combine({name: min_max(align(name, raw)) for name, raw in finite(scores).items()}, fidelity, realism)
