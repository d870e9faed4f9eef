"""From a group's scores `[K, M]` and rewards `[M]` to its pairs: a file each, a row each. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from components.errors import BadInput
from components.pair.builders.best_vs_worst import best_vs_worst
from components.pair.builders.dp2o import dp2o
from components.pair.builders.pareto import pareto
from components.pair.builders.random_pairs import random_pairs
from components.pair.builders.rank_then_sift import rank_then_sift
from components.pair.builders.votes import votes
from components.pair.builders.winners_only import winners_only
from components.pair.pairs import NO_LOSER, Pair
from components.rewards.alignment import Values
from components.rewards.group import GroupScores
from components.settings import (
    BestVsWorstBuilder,
    BuilderSettings,
    DP2OBuilder,
    ParetoBuilder,
    RandomBuilder,
    RankThenSiftBuilder,
    VotesBuilder,
    WinnersOnlyBuilder,
    row_of,
)


@dataclass(frozen=True)
class Builder:
    """A row: its settings, and its function of a group's scores, its rewards `[M]` and those settings."""

    settings: type[BuilderSettings]
    function: Callable[[GroupScores, Values, Any], list[Pair]]


BUILDERS: dict[str, Builder] = {
    "dp2o": Builder(DP2OBuilder, dp2o),
    "best_vs_worst": Builder(BestVsWorstBuilder, best_vs_worst),
    "random": Builder(RandomBuilder, random_pairs),
    "winners_only": Builder(WinnersOnlyBuilder, winners_only),
    "pareto": Builder(ParetoBuilder, pareto),
    "rank_then_sift": Builder(RankThenSiftBuilder, rank_then_sift),
    "votes": Builder(VotesBuilder, votes),
}


def build(scores: GroupScores, rewards: Values, settings: BuilderSettings) -> list[Pair]:
    """The pairs of one group by the builder that the settings choose.

    Raises:
        BadInput: one that the user brought cannot be used, or gives pairs of candidates that the group lacks.
    """
    pairs = row_of(BUILDERS, settings, Builder).function(scores, rewards, settings)
    known = {*scores.indexes, NO_LOSER}
    for pair in pairs:
        if pair.winner not in scores.indexes or pair.loser not in known or pair.winner == pair.loser:
            raise BadInput(
                f"pair.builder {settings.kind} pairs candidate {pair.winner} with {pair.loser}, and {scores.lr_id} has "
                f"candidates {list(scores.indexes)}"
            )
        if (pair.loser == NO_LOSER) == settings.losers:
            raise BadInput(
                f"pair.builder {settings.kind} says losers = {settings.losers}, and gave {scores.lr_id} a pair of "
                f"{pair.winner} with {pair.loser}"
            )
    return pairs
