"""Fidelity and realism: the two sides of the reward, and their mean (DP2O-SR, section 3.2). Pure."""

from collections.abc import Mapping

import numpy as np

from components.errors import BadInput
from components.metrics.table import Kind, of_kind
from components.rewards.alignment import Values


def combine(normalised: Mapping[str, Values]) -> Values:
    """R = 0.5 * mean over FR + 0.5 * mean over NR, of direction-aligned, normalised values.

    Where no FR metric is given, `lr_consistency` takes its place. Where one side is given alone, R is its mean, so that
    R stays in [0, 1] for inputs in [0, 1].

    Raises:
        BadInput: no metric is given, or `lr_consistency` beside FR metrics (with HR at hand it is no reward).
    """
    names = list(normalised)
    fidelity, naturalness = of_kind(names, Kind.FR), of_kind(names, Kind.NR)
    stand_in = of_kind(names, Kind.LR)
    if fidelity and stand_in:
        raise BadInput(
            f"{', '.join(stand_in)} is a stand-in for FR metrics and cannot be rewarded beside {', '.join(fidelity)}: "
            "leave it out of the reward where there is an HR reference"
        )
    sides = [side for side in (fidelity or stand_in, naturalness) if side]
    if not sides:
        raise BadInput("a reward needs at least one metric: set score.fr or score.nr")
    means = [np.mean([normalised[name] for name in side], axis=0) for side in sides]
    reward: Values = np.mean(means, axis=0)
    return reward
