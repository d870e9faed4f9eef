"""Columns of data/scores.parquet that judges fill: not those of metrics, on the side that the settings give them."""

from typing import Literal

Side = Literal["fidelity", "realism"]
PREFIX = "judge_"
_SUFFIX: dict[str, Side] = {"_fr": "fidelity", "_nr": "realism"}


def column(kind: str, side: Side | None) -> str:
    """Column of a judge: `judge_<kind>_fr` or `_nr` where the reward of pairs has it on a side, else `judge_<kind>`.

    Of a judge that the user brought (`package.module:NAME`) the name alone.
    """
    suffix = next((end for end, its in _SUFFIX.items() if its == side), "")
    return f"{PREFIX}{kind.rpartition(':')[2].lower()}{suffix}"


def is_judged(name: str) -> bool:
    """Whether a column is a judge's."""
    return name.startswith(PREFIX)


def side_of(name: str) -> Side | None:
    """Side of a rewarded judge's column; None for other columns."""
    return _SUFFIX.get(name[-3:]) if is_judged(name) else None
