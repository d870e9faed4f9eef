"""Groups as the page shows them: candidates in rank order, and the pairs' weights as a table of cells. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.pages.charts import fixed, short

NO_LOSER = -1


@dataclass(frozen=True)
class Candidate:
    """One restoration of a group; `role` is winner, loser, both (of different pairs) or none."""

    index: int
    rank: int
    reward: str
    role: str
    scores: list[tuple[str, str]]
    all_scores: str
    picture: str


@dataclass(frozen=True)
class Cell:
    """A pair's weight; `share` in 0..1 places it between the lightest and the heaviest pair of all groups shown."""

    weight: str
    share: float
    detail: str


@dataclass(frozen=True)
class GroupView:
    """A group; `cells` has a row a winner and a column a loser, None where the builder made no such pair."""

    lr_id: str
    source: str
    sigma: str
    w_inter: str
    lr_picture: str
    hr_picture: str | None
    candidates: list[Candidate]
    winners: list[int]
    losers: list[int]
    cells: list[list[Cell | None]]


def ranked(scores: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of one group by falling reward, equal rewards by index: the order that pairs were made in."""
    return sorted(scores, key=lambda row: (-row["reward"], row["index"]))


def view(
    group: Mapping[str, Any],
    source: str,
    scores: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]],
    rewarded: Sequence[str],
    metrics: Sequence[str],
    pictures: Mapping[int, str],
    *,
    lr_picture: str,
    hr_picture: str | None,
    weights: tuple[float, float],
) -> GroupView:
    """The view of one group.

    Args:
        group: row of data/groups.parquet.
        source: name of the photo.
        scores, pairs: the group's rows of data/scores.parquet and data/pairs.parquet.
        rewarded: metrics to print below each candidate.
        metrics: all metrics, for the text under the pointer.
        pictures: data URI by candidate index.
        lr_picture, hr_picture: data URIs.
        weights: lightest and heaviest pair weight of all groups shown.
    """
    order = ranked(scores)
    places = {row["index"]: place for place, row in enumerate(order)}
    winners = sorted({pair["winner"] for pair in pairs}, key=places.__getitem__)
    losers = sorted({pair["loser"] for pair in pairs if pair["loser"] != NO_LOSER}, key=places.__getitem__)
    by_pair = {(pair["winner"], pair["loser"]): pair for pair in pairs}
    return GroupView(
        group["lr_id"],
        source,
        fixed(group["sigma"]),
        fixed(group["w_inter"]),
        lr_picture,
        hr_picture,
        [
            Candidate(
                row["index"],
                place + 1,
                fixed(row["reward"], 1.0),
                _role(row["index"] in winners, row["index"] in losers),
                [(name, _score(row[name])) for name in rewarded],
                ", ".join(f"{name} {_score(row[name])}" for name in metrics),
                pictures[row["index"]],
            )
            for place, row in enumerate(order)
        ],
        winners,
        losers,
        [[_cell(by_pair.get((winner, loser)), weights) for loser in losers] for winner in winners],
    )


def _score(value: float | None) -> str:
    return "–" if value is None else short(value)


def _role(is_winner: bool, is_loser: bool) -> str:
    return "both" if is_winner and is_loser else "winner" if is_winner else "loser" if is_loser else "none"


def _cell(pair: Mapping[str, Any] | None, weights: tuple[float, float]) -> Cell | None:
    if pair is None:
        return None
    low, high = weights
    share = (pair["weight"] - low) / (high - low) if high > low else 0.5
    detail = (
        f"{pair['winner']} over {pair['loser']}: gap {fixed(pair['gap'], 0)}, w_intra {fixed(pair['w_intra'])}, "
        f"w_inter {fixed(pair['w_inter'])}"
    )
    return Cell(f"{pair['weight']:.2f}", share, detail)
