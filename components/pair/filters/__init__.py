"""What goes over a builder's pairs: drops, turns or annotates them; a file each, a row each. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from components.pair.filters.strength import strength
from components.pair.filters.transport import transport
from components.pair.pairs import Pair
from components.rewards.group import GroupScores
from components.settings import FilterSettings, StrengthFilter, TransportFilter, row_of


@dataclass(frozen=True)
class Filter:
    """A row: its settings, and its function of a group's scores, its pairs and those settings."""

    settings: type[FilterSettings]
    function: Callable[[GroupScores, list[Pair], Any], list[Pair]]


FILTERS: dict[str, Filter] = {
    "strength": Filter(StrengthFilter, strength),
    "transport": Filter(TransportFilter, transport),
}


def filtered(scores: GroupScores, pairs: list[Pair], settings: Sequence[FilterSettings]) -> list[Pair]:
    """The pairs of one group after all filters, in their order; a group without pairs is left alone.

    Raises:
        BadInput: one that the user brought cannot be used.
    """
    for one in settings:
        if not pairs:
            break
        pairs = row_of(FILTERS, one, Filter).function(scores, pairs, one)
    return pairs
