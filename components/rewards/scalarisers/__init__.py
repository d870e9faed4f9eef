"""From a group's scores `[K, M]` to one reward a candidate `[M]`: a file each, a row each. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.errors import BadInput
from components.rewards.alignment import Values
from components.rewards.group import GroupScores
from components.rewards.scalarisers.min_max import min_max_rewards
from components.rewards.scalarisers.pooled import pooled_rewards
from components.rewards.scalarisers.win_rate import win_rate_rewards
from components.settings import MinMaxScalariser, PooledScalariser, ScalariserSettings, WinRateScalariser, row_of


@dataclass(frozen=True)
class Scalariser:
    """A row: its settings, and its function of a group's scores and those settings, which gives rewards `[M]`."""

    settings: type[ScalariserSettings]
    function: Callable[[GroupScores, Any], Values]


SCALARISERS: dict[str, Scalariser] = {
    "min_max": Scalariser(MinMaxScalariser, min_max_rewards),
    "win_rate": Scalariser(WinRateScalariser, win_rate_rewards),
    "pooled": Scalariser(PooledScalariser, pooled_rewards),
}


def rewards_of(scores: GroupScores, settings: ScalariserSettings) -> Values:
    """Rewards `[M]` of a group by the scalariser that the settings choose.

    Raises:
        BadInput: one that the user brought cannot be used, or does not give a finite number a candidate.
    """
    rewards = row_of(SCALARISERS, settings, Scalariser).function(scores, settings)
    if np.shape(rewards) != (len(scores.indexes),) or not np.isfinite(rewards).all():
        raise BadInput(
            f"pair.scalariser {settings.kind} gave no finite number for each of the {len(scores.indexes)} candidates "
            f"of {scores.lr_id}"
        )
    return rewards
