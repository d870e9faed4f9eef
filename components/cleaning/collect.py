"""A look at everything, and the removal of what is free."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from components.cleaning.inventory import Entry, Root, free
from components.cleaning.kinds import all_kinds
from components.cleaning.revisions import fetch
from components.cleaning.running import running_flows
from components.cleaning.world import Kind, World
from components.errors import BadInput, ResumeLater
from components.failpoints import Failpoint, no_failpoint
from components.in_use.folder import alone, is_in_use
from components.in_use.store import removing, users
from components.settings import Settings
from components.storage.store import Store

Clock = Callable[[], float]


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        older_than: seconds; what was written or used since stays.
        only: rows of the table; empty: all.
        every_commit: whether every commit is kept, or branches and tags alone.
        others: further projects that use the same store.
    """

    older_than: float
    only: tuple[str, ...] = ()
    every_commit: bool = False
    others: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Found:
    """What a look came to.

    Attributes:
        entries: what is free, in the order in which it goes.
        roots: what is kept whatever happens, for people.
        at_work: who works with it now, so that nothing would be removed.
        notes: what could not be told, for people.
        when: of the look, seconds since 1970.
    """

    entries: tuple[Entry, ...]
    roots: tuple[str, ...]
    at_work: tuple[str, ...]
    notes: tuple[str, ...]
    when: float

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(entry.size for entry in self.entries)


def look(settings: Settings, root: Path, wanted: Wanted, clock: Clock = time.time) -> Found:
    """What is free, without removing anything.

    Raises:
        BadInput: something that refers cannot be read, so that nobody knows what it refers to.
        ResumeLater: the registry, a store or a git remote is away, likewise.
    """
    world = _world(settings, root, wanted, clock)
    found, _ = _look(world, wanted, clock)
    return replace(found, at_work=tuple(_at_work(world)))


def collect(
    settings: Settings,
    root: Path,
    wanted: Wanted,
    agreed: Callable[[Found], bool],
    clock: Clock = time.time,
    failpoint: Failpoint = no_failpoint,
) -> Found:
    """Look, ask, and remove what is free; what was removed.

    Nobody works meanwhile: runs that begin wait. Each thing goes by itself, after all that refers to it, so that an
    interruption at any moment leaves nothing half; the next call goes on.

    Args:
        agreed: whether to go on.
        failpoint: called with the key of each thing before it goes.

    Raises:
        ResumeLater: a run is at work; nothing was removed.
        BadInput: as `look`.
    """
    world = _world(settings, root, wanted, clock)
    with _nobody_works(world):
        found, kinds = _look(world, wanted, clock)
        if not found.entries or not agreed(found):
            return replace(found, entries=())
        gone: list[Entry] = []
        for name, entries in groupby(found.entries, key=lambda entry: entry.kind):
            listed = list(entries)
            failpoint(f"{name} {listed[0].key}")
            for entry in kinds[name].remove(listed):
                gone.append(entry)
                failpoint(f"{name} {entry.key} is gone")
        return replace(found, entries=tuple(gone), notes=tuple(dict.fromkeys(world.notes)))


def _world(settings: Settings, root: Path, wanted: Wanted, clock: Clock) -> World:
    for other in wanted.others:
        if not (other / ".dvc").is_dir():
            raise BadInput(f"--project {other} is no DVC project")
    return World(settings, root, wanted.others, clock() - wanted.older_than, wanted.every_commit)


def _look(world: World, wanted: Wanted, clock: Clock) -> tuple[Found, dict[str, Kind]]:
    kinds = {kind.name: kind for kind in all_kinds(world)}
    chosen = set(wanted.only or kinds)
    if any(place.shared for place in world.places) and any(kinds[name].shared for name in chosen):
        for root in (world.root, *world.others):
            fetch(root)
    roots: list[Root] = []
    for kind in kinds.values():
        roots += kind.roots(frozenset().union(*(root.refers for root in roots)))
    entries = [entry for kind in kinds.values() for entry in kind.entries()]
    listed = [entry for entry in free(entries, roots, world.oldest) if entry.kind in chosen]
    sized = tuple(kinds[entry.kind].sized(entry) for entry in _without_what_others_need(listed, entries, wanted.only))
    notes = tuple(dict.fromkeys(world.notes))
    return Found(sized, tuple(root.what for root in roots), (), notes, clock()), kinds


def _without_what_others_need(listed: Sequence[Entry], entries: Sequence[Entry], only: Collection[str]) -> list[Entry]:
    """Without what things of rows that were not chosen refer to: those stay, and so does what they name."""
    if not only:
        return list(listed)
    staying = Root("rows that were not chosen", frozenset().union(*(e.refers for e in entries if e.kind not in only)))
    return free(listed, [staying], float("inf"))


def _at_work(world: World) -> list[str]:
    found = [f"a run in {world.root}"] if is_in_use(world.root, world.cache) else []
    for store in _stores(world):
        found += users(store)
    return [*found, *running_flows()]


@contextmanager
def _nobody_works(world: World) -> Iterator[None]:
    """Keep everybody out, or say who is at work."""
    with ExitStack() as stack:
        for root in (world.root, *world.others):
            stack.enter_context(alone(root, world.cache if root == world.root else root / "cache"))
        for store in _stores(world):
            stack.enter_context(removing(store, f"`dp2o gc` on {socket.gethostname()} (process {os.getpid()})"))
        if running := running_flows():
            raise ResumeLater(
                f"{', '.join(running)} at work, as Prefect says: nothing is removed; run the same command after it"
            )
        _check_dvc(world.root)
        yield


def _check_dvc(root: Path) -> None:
    """See that no `dvc repro` of its own is at work: between two stages it holds none of our locks.

    Raises:
        ResumeLater: one is.
    """
    from components.pipeline.status import status_of  # noqa: PLC0415  # DVC's imports

    run = status_of(root).run
    if run is not None and run.pid != os.getpid():
        raise ResumeLater(f"{run.text} in {root}: nothing is removed; run the same command after it")


def _stores(world: World) -> list[Store]:
    """Places that flows have used: they have documents of this project's."""
    return [Store(place.url) for place in world.places if place.files.exists(place.documents())]
