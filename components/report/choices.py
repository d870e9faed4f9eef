"""Which images and groups are shown: spread evenly over what happened, so that a page cannot flatter. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any


def evenly(ordered: Sequence[str], count: int) -> list[str]:
    """`count` of the ids in their order: the first, the last, and the others evenly between; all if there are fewer.

    One alone is the middle one.
    """
    if count >= len(ordered):
        return list(ordered)
    if count == 1:
        return [ordered[len(ordered) // 2]]  # never the best alone
    return [ordered[round(place * (len(ordered) - 1) / (count - 1))] for place in range(count)]


def by_gain(gains: Mapping[str, float]) -> list[str]:
    """Ids from the largest gain to the largest loss; equal gains by id."""
    return sorted(gains, key=lambda name: (-gains[name], name))


def mean_by_image(rows: Sequence[Mapping[str, object]], model: str) -> dict[str, float]:
    """Mean reward of a model's restorations of each LR, of the rows of reports/evaluation.parquet."""
    collected: dict[str, list[float]] = {}
    for row in rows:
        if row["model"] == model:
            collected.setdefault(str(row["lr_id"]), []).append(float(str(row["reward"])))
    return {lr_id: sum(values) / len(values) for lr_id, values in collected.items()}


def midway(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of groups or pairs; of those of several places on a dial, the ones nearest to its middle."""
    places = {row["preference"] for row in rows if row["preference"] is not None}
    middle = min(places, key=lambda place: (abs(place - 0.5), place), default=None)
    return [dict(row) for row in rows if row["preference"] == middle]
