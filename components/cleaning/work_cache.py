"""Finished work outside of DVC's outputs: `run.cache` on this machine, and the copy of it that machines share.

Candidates and scores stay as long as a table of candidates that is kept has them. Nothing lists what evaluations,
captions and trainings left there, and all of it can be made again: that stays for as long as somebody uses it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from components.cleaning.inventory import Entry
from components.cleaning.places import File
from components.cleaning.world import Named, World, group_name, image_name
from components.errors import BadInput

MANIFEST = "manifest.json"
"""Without it a checkpoint does not count, so that it goes first."""
Read = Callable[[str], bytes | None]
NOT_OF_A_TABLE = "no table of candidates that is kept has it"
NOT_USED = "nobody has used it for so long; it can be made again"
BY_USE = frozenset({"benchmark", "evaluate", "judge", "prompts", "rounds", "train"})


@dataclass
class WorkCache(Named):
    """Of this machine, or shared."""

    world: World
    name: str
    shared: bool

    def entries(self) -> Iterator[Entry]:
        """Each file."""
        if not self.shared:
            for file in _files_below(self.world.cache):
                yield from self._entry("cache", PurePosixPath(file.path).relative_to(self.world.cache), file, _read)
            return
        for place in self.world.places:
            base = f"{place.documents()}/cache"
            for file in place.below("dp2o/cache"):
                yield from self._entry(place.name, PurePosixPath(file.path).relative_to(base), file, place.content)

    def remove(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        """One after the other, and folders that are empty then."""
        places = self.world.places
        for entry in entries:
            if self.shared:
                next(place for place in places if entry.key.startswith(f"{place.base}/")).remove(entry.key)
            else:
                remove_file(Path(entry.key), self.world.cache)
            yield entry

    def _entry(self, where: str, path: PurePosixPath, file: File, read: Read) -> Iterator[Entry]:
        kind, *rest = path.parts
        group = f"{where}: {kind}"
        names: frozenset[str] = frozenset()
        refers: frozenset[str] = frozenset()
        if kind == "generate" and len(rest) == 3 and path.suffix == ".group":
            names = frozenset({group_name(rest[0], rest[2].split("-", maxsplit=1)[0])})
        elif kind == "score" and path.suffix == ".json":
            if file.changed <= self.world.oldest:
                names = _scored(read(file.path))
        elif kind == "train" and len(rest) == 3:
            state = f"checkpoint:{PurePosixPath(file.path).parent}"
            group = f"{where}: train/{rest[0]}"
            names, refers = (names, frozenset({state})) if rest[2] == MANIFEST else (frozenset({state}), refers)
        elif kind not in BY_USE:
            return  # not ours to judge
        why = NOT_USED if kind in BY_USE else NOT_OF_A_TABLE
        stays = "a training that is not finished" if kind == "train" and rest[0] == self._unfinished else ""
        changed = _used(file) if kind in BY_USE and not self.shared else file.changed
        yield Entry(self.name, file.path, group, why, changed, names, refers, size=file.size, stays=stays)

    @cached_property
    def _unfinished(self) -> str:
        """The newest training, where the work tree has none that is up to date: the next run goes on from it."""
        from components.pipeline.status import status_of  # noqa: PLC0415  # DVC's imports

        if self.shared or not (self.world.cache / "train").is_dir():
            return ""
        try:
            if "train" not in status_of(self.world.root).out_of_date:
                return ""
        except BadInput:
            pass  # nobody knows: rather keep it
        folders = [path for path in (self.world.cache / "train").iterdir() if path.is_dir()]
        return max(folders, key=lambda path: path.stat().st_mtime).name if folders else ""


def remove_file(path: Path, top: Path) -> None:
    """Remove a file and the folders below `top` that are empty then."""
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == top or not folder.is_relative_to(top):
            break
        try:
            folder.rmdir()
        except OSError:
            break


def _files_below(top: Path) -> Iterator[File]:
    """Files that are published; what is being written has a name with a dot in front."""
    for path in sorted(top.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(top).parts):
            found = path.stat()
            yield File(str(path), found.st_size, found.st_mtime)


def _used(file: File) -> float:
    """When it was read or written last, as far as the file system notes reading."""
    return max(file.changed, Path(file.path).stat().st_atime)


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


def _scored(content: bytes | None) -> frozenset[str]:
    """Names of the candidates that a file of scores is about; nothing of a damaged one."""
    try:
        scores = json.loads(content or b"{}")["scores"]
        return frozenset(image_name(str(image)) for images in scores.values() for image in images)
    except (ValueError, KeyError, TypeError, AttributeError):
        return frozenset()
