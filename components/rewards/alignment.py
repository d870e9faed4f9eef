"""Which metrics make the reward of an image, and their values so that higher is better. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from components.artifacts.judged import is_judged
from components.metrics.table import LR_CONSISTENCY, info

Values = NDArray[np.float64]


def align(name: str, raw: Values) -> Values:
    """Raw values of metric or judge `name` so that higher is better; of a judge they are."""
    return raw if is_judged(name) or info(name).higher_is_better else -raw


def rewarded_metrics(fr: Sequence[str], nr: Sequence[str], has_hr: bool) -> list[str]:
    """The metrics that make the reward of an image: `fr` and `nr`, or, without HR, `lr_consistency` and `nr`."""
    return [*fr, *nr] if has_hr else [LR_CONSISTENCY, *nr]


def finite(scores: Mapping[str, Values]) -> dict[str, Values]:
    """The same as float64.

    Raises:
        ValueError: a score is not finite.
    """
    checked = {name: np.asarray(values, dtype=np.float64) for name, values in scores.items()}
    for name, values in checked.items():
        if not np.isfinite(values).all():
            raise ValueError(f"metric {name} has {np.count_nonzero(~np.isfinite(values))} scores that are not finite")
    return checked
