"""Fidelity and realism: the two sides of the reward, and their mean (docs/method.md, section 2). Pure."""

from collections.abc import Mapping, Sequence

import numpy as np

from components.artifacts.judged import is_judged, side_of
from components.errors import BadInput
from components.metrics.table import Kind, of_kind
from components.rewards.alignment import Values


def sides(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Columns of fidelity and of realism: metrics, and judges after them; `lr_consistency` stands in for FR metrics.

    Raises:
        BadInput: no metric is given, or `lr_consistency` beside FR metrics (with HR at hand it is no reward).
    """
    metrics = [name for name in names if not is_judged(name)]
    fidelity, realism = of_kind(metrics, Kind.FR), of_kind(metrics, Kind.NR)
    stand_in = of_kind(metrics, Kind.LR)
    if fidelity and stand_in:
        raise BadInput(
            f"{', '.join(stand_in)} is a stand-in for FR metrics and cannot be rewarded beside {', '.join(fidelity)}: "
            "leave it out of the reward where there is an HR image"
        )
    if not (fidelity or stand_in or realism):
        raise BadInput("a reward needs at least one metric: set score.fr or score.nr")
    judged = {side: [name for name in names if side_of(name) == side] for side in ("fidelity", "realism")}
    return [*(fidelity or stand_in), *judged["fidelity"]], [*realism, *judged["realism"]]


def combine(normalised: Mapping[str, Values], fidelity: float = 0.5, realism: float = 0.5) -> Values:
    """R = (fidelity * mean over FR + realism * mean over NR) / (fidelity + realism), of normalised values.

    Where one side is given alone, R is its mean, so that R stays in [0, 1] for inputs in [0, 1].

    Raises:
        BadInput: see `sides`.
    """
    weighted = [
        (weight, np.mean([normalised[name] for name in side], axis=0))
        for weight, side in zip((fidelity, realism), sides(list(normalised)), strict=True)
        if side
    ]
    if len(weighted) == 1:
        alone: Values = weighted[0][1]
        return alone
    reward: Values = (fidelity * weighted[0][1] + realism * weighted[1][1]) / (fidelity + realism)
    return reward
