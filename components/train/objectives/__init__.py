"""From a group's errors `[B]` to a loss for each of its pairs `[P]`: a file each, a row each. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from components.artifacts.tables import Row
from components.errors import BadInput
from components.settings import (
    CaPOObjective,
    DMPOObjective,
    DP2OObjective,
    IPOObjective,
    MarginObjective,
    ObjectiveSettings,
    SoftObjective,
    WinnersOnlyObjective,
    row_of,
)
from components.train.objectives.capo import capo
from components.train.objectives.dmpo import dmpo
from components.train.objectives.dp2o import dp2o
from components.train.objectives.ipo import ipo
from components.train.objectives.margin import margin
from components.train.objectives.soft import soft
from components.train.objectives.winners_only import winners_only
from components.train.pairs import PairLosses, Pairs


@dataclass(frozen=True)
class Objective:
    """A row: its settings, and its function of policy errors, reference errors, pairs and those settings."""

    settings: type[ObjectiveSettings]
    function: Callable[[Tensor, Tensor, Pairs, Any], PairLosses]


OBJECTIVES: dict[str, Objective] = {
    "dp2o": Objective(DP2OObjective, dp2o),
    "soft": Objective(SoftObjective, soft),
    "margin": Objective(MarginObjective, margin),
    "ipo": Objective(IPOObjective, ipo),
    "capo": Objective(CaPOObjective, capo),
    "dmpo": Objective(DMPOObjective, dmpo),
    "winners_only": Objective(WinnersOnlyObjective, winners_only),
}


def objective_of(settings: ObjectiveSettings) -> Callable[[Tensor, Tensor, Pairs], PairLosses]:
    """The objective that the settings choose, with those settings.

    Raises:
        BadInput: one that the user brought cannot be used.
    """
    function = row_of(OBJECTIVES, settings, Objective).function
    return lambda policy, reference, pairs: function(policy, reference, pairs, settings)


def require_columns(settings: ObjectiveSettings, pair_rows: Sequence[Row]) -> None:
    """Refuse pairs that lack what the objective needs.

    Raises:
        BadInput: a column that it needs is null.
    """
    for column in settings.needs:
        empty = [row for row in pair_rows if row[column] is None]
        if empty:
            first = empty[0]
            raise BadInput(
                f"train.objective {settings.kind} needs the {column} of each pair, and data/pairs.parquet has none for "
                f"{len(empty)} of {len(pair_rows)} pairs, first for {first['winner']} against {first['loser']} of "
                f"{first['lr_id']}: take a pair.builder or pair.filters that gives it, and run pair again"
            )
