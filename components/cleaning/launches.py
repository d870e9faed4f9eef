"""Logs of processes that flows started on this machine. Their records go with the processes themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.cleaning.inventory import Entry
from components.cleaning.work_cache import remove_file
from components.cleaning.world import Named, World

FOLDER = Path(".dvc/tmp/dp2o")
"""Of `align`'s launcher; that of `promote` is `launcher` in the cache."""


@dataclass
class Launches(Named):
    """Logs of local launchers."""

    world: World
    name: str = "logs"
    shared: bool = False

    def entries(self) -> Iterator[Entry]:
        """Each log; that of a process that runs is being written."""
        for folder in (self.world.root / FOLDER, self.world.cache / "launcher"):
            for log in sorted(folder.glob("*.log")):
                found = log.stat()
                yield Entry(self.name, str(log), "logs of processes", "only people read it", found.st_mtime,
                            size=found.st_size)  # fmt: skip

    def remove(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        """One after the other."""
        for entry in entries:
            remove_file(Path(entry.key), Path(entry.key).parent)
            yield entry
