"""Compositions that were trained and judged in another arena: their rows beside ours, under the same judge.

What is comparable is said by three digests (`results.Results.digests`): of the base's weights, of the metrics, and of
the dataset, the sampling and the judging. Their figures are made anew of their rows; what rows cannot tell, learning
rate, passes, seconds and curve, is taken from their document.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchmarks.arena.judge import schema
from benchmarks.arena.recipe import BASE
from benchmarks.arena.results import Entry, Results
from components.artifacts import tables
from components.artifacts.documents import Document
from components.artifacts.tables import Row
from components.errors import BadInput
from components.storage import digests
from components.storage.publish import atomic_folder

ROWS = "rows.parquet"
WHAT = {"base": "the base's weights", "metrics": "the metrics", "shared": "the dataset, the sampling or the judging"}
"""What each digest is of."""


class Added(Document):
    """added/<digest of the name>/entry.json: one composition of another arena.

    Attributes:
        name: of the composition.
        entry: as it stands in their document.
        digests: of their document.
    """

    path: ClassVar[Path] = Path("entry.json")
    made_by: ClassVar[str] = "python -m benchmarks.arena --add"

    name: str
    entry: Entry
    digests: dict[str, str]


@dataclass(frozen=True)
class Other:
    """A composition of another arena, and its rows."""

    entry: Entry
    rows: list[Row]


def folder_of(out: Path) -> Path:
    """Where added compositions lie."""
    return out / "added"


def add(theirs: Path, ours: Results, metrics: Sequence[str], out: Path, names: Sequence[str] | None) -> list[str]:
    """Take compositions of the arena in folder `theirs` into the one in `out`; their names.

    Args:
        theirs: has results.json and results.parquet.
        ours: what `out` has found so far.
        metrics: columns of the rows.
        out: our arena's folder.
        names: of their compositions; None for all that ours has not.

    Raises:
        BadInput: they were judged otherwise, had another budget, lack rows, or a name is taken or unknown.
    """
    found = Results.read(theirs)
    check_comparable(found, ours, theirs)
    taken = set(ours.compositions)
    chosen = [name for name in found.compositions if name not in taken] if names is None else list(names)
    unknown = [name for name in chosen if name not in found.compositions]
    if unknown or not chosen:
        why = f"there is no {', '.join(unknown)} among them" if unknown else "ours has all of these names"
        raise BadInput(
            f"{theirs} has the compositions {', '.join(found.compositions)}: {why}, name others with --added"
        )
    if both := [name for name in chosen if name in taken]:
        raise BadInput(
            f"{', '.join(both)} is in both arenas: give it another name in their recipe, run that again, and add it"
        )
    rows = tables.read_rows(theirs / "results.parquet", schema(list(metrics)))
    keys = {(row["lr_id"], row["index"]) for row in rows if row["composition"] == BASE}
    for name in chosen:
        own = [row for row in rows if row["composition"] == name]
        check_whole(name, own, found.compositions[name].seeds, keys, theirs)
        with atomic_folder(_folder(out, name)) as temporary:
            Added(name=name, entry=found.compositions[name], digests=found.digests).write(temporary)
            tables.write_rows(temporary / ROWS, schema(list(metrics)), own)
    return chosen


def check_comparable(found: Results, ours: Results, theirs: Path) -> None:
    """Refuse what was judged otherwise, or trained with another budget.

    Raises:
        BadInput: names what differs.
    """
    differing = [what for name, what in WHAT.items() if found.digests.get(name) != ours.digests.get(name)]
    if differing:
        raise BadInput(
            f"{theirs} differs in {' and in '.join(differing)}, so that its figures say nothing beside ours: run their "
            "composition with our recipe's settings and metrics"
        )
    for what, one, other in (
        ("network passes", found.passes, ours.passes),
        ("checkpoint", found.checkpoint, ours.checkpoint),
    ):
        if one != other:
            raise BadInput(f"{theirs} has {what} {one}, ours {other}: run their composition with ours")


def check_whole(name: str, rows: Sequence[Row], seeds: Sequence[int], keys: set[tuple[str, int]], theirs: Path) -> None:
    """Refuse a composition that lacks restorations.

    Raises:
        BadInput: names the composition and the seed.
    """
    for seed in seeds:
        own = {(row["lr_id"], row["index"]) for row in rows if row["seed"] == seed}
        if own != keys:
            raise BadInput(
                f"{theirs / 'results.parquet'}: {name} with seed {seed} has {len(own)} of the {len(keys)} restorations "
                "that the base has: run their arena again"
            )


def read(out: Path, known: Mapping[str, str], metrics: Sequence[str]) -> dict[str, Other]:
    """Added compositions by name; those whose digests are not `known`, as base or judge changed, are left out."""
    found = {}
    for folder in sorted(folder_of(out).glob("*/")):
        one = Added.read(folder)
        if one.digests == dict(known):
            found[one.name] = Other(one.entry, tables.read_rows(folder / ROWS, schema(list(metrics))))
    return found


def _folder(out: Path, name: str) -> Path:
    return folder_of(out) / digests.of_json(name)[:16]
