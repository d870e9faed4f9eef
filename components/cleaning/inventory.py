"""What refers to what, what is free because nothing kept does, and in which order it can be removed. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter


@dataclass(frozen=True)
class Root:
    """Something that is kept whatever happens: a branch, a tag, a model version, a record of the history.

    Attributes:
        what: for people.
        refers: names that must stay.
    """

    what: str
    refers: frozenset[str]


@dataclass(frozen=True)
class Entry:
    """One thing that can be removed by itself.

    Attributes:
        kind: row of the table that has it.
        key: by which its row knows it.
        group: which things are shown together, for people.
        why: nobody needs it, if nothing refers to it; for people.
        names: others refer to it by any of these.
        refers: names that must stay as long as it does.
        all_of: it stays as well where every one of these must; empty: not by that.
        size: bytes.
        changed: when it was written or used last, seconds since 1970.
        stays: why it stays whatever refers to it; empty: it need not.
    """

    kind: str
    key: str
    group: str
    why: str
    changed: float
    names: frozenset[str] = frozenset()
    refers: frozenset[str] = frozenset()
    all_of: frozenset[str] = frozenset()
    size: int = 0
    stays: str = ""


def free(entries: Sequence[Entry], roots: Iterable[Root], oldest: float) -> list[Entry]:
    """What nothing kept refers to, in an order in which it can be removed: at no moment does anything that is still
    there refer to what is gone.

    What was written or used after `oldest` stays, and so does all that it refers to: it may belong to work that nobody
    has recorded yet.
    """
    by_name: dict[str, list[int]] = defaultdict(list)
    waiting: dict[str, list[int]] = defaultdict(list)
    lacking: dict[int, set[str]] = {}
    for place, entry in enumerate(entries):
        for name in entry.names:
            by_name[name].append(place)
        if entry.all_of:
            lacking[place] = set(entry.all_of)
            for name in entry.all_of:
                waiting[name].append(place)
    kept: set[int] = set()
    marked: set[str] = set()
    todo: list[str] = []

    def keep(place: int) -> None:
        if place not in kept:
            kept.add(place)
            todo.extend(entries[place].refers)

    for root in roots:
        todo.extend(root.refers)
    for place, entry in enumerate(entries):
        if entry.stays or entry.changed > oldest:
            keep(place)
    while todo:
        name = todo.pop()
        if name in marked:
            continue
        marked.add(name)
        for place in by_name[name]:
            keep(place)
        for place in waiting[name]:
            lacking[place].discard(name)
            if not lacking[place]:
                keep(place)
    return in_order([entry for place, entry in enumerate(entries) if place not in kept])


def in_order(entries: Collection[Entry]) -> list[Entry]:
    """Each after all that refer to it; else as they were."""
    by_name: dict[str, list[int]] = defaultdict(list)
    listed = list(entries)
    for place, entry in enumerate(listed):
        for name in entry.names:
            by_name[name].append(place)
    sorter: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(range(len(listed)), ()))
    for place, entry in enumerate(listed):
        for name in entry.refers:
            for other in by_name.get(name, ()):
                if other != place:
                    sorter.add(other, place)
    return [listed[place] for place in sorter.static_order()]
