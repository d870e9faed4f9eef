"""Rewards under a normaliser fixed on the baseline, so that models and checkpoints compare. Pure."""

from collections.abc import Callable, Sequence

import numpy as np

from components.errors import BadInput
from components.judge.measure import Measurement
from components.rewards.normaliser import FixedNormaliser

Rewarded = Callable[[str], Sequence[str]]
"""The metrics that make the reward of an LR, by its id: with and without HR they differ."""


def fit_normaliser(baseline: Sequence[Measurement], rewarded: Rewarded) -> FixedNormaliser:
    """Bounds of each rewarded metric over the baseline's restorations that it applies to.

    Raises:
        BadInput: a rewarded metric failed on all of them, or is the same on all of them.
    """
    collected: dict[str, list[float]] = {}
    for measurement in baseline:
        for name in rewarded(measurement.lr_id):
            values = collected.setdefault(name, [])
            if name in measurement.values:
                values.append(measurement.values[name])
    empty = sorted(name for name, values in collected.items() if not values)
    if empty:
        raise BadInput(
            f"metrics {empty} failed on every restoration of the base model: take them out of score.fr, score.nr"
        )
    return FixedNormaliser.fit({name: np.array(values) for name, values in collected.items()})


def rewards(measurements: Sequence[Measurement], rewarded: Rewarded, normaliser: FixedNormaliser) -> list[float | None]:
    """Reward of each measurement; None where a rewarded metric is missing, which is never read as a low reward."""
    result: list[float | None] = []
    for measurement in measurements:
        names = rewarded(measurement.lr_id)
        if any(name not in measurement.values for name in names):
            result.append(None)
            continue
        own = FixedNormaliser({name: normaliser.bounds[name] for name in names})
        result.append(float(own.apply({name: np.array([measurement.values[name]]) for name in names})[0]))
    return result
