"""What all rows of the table look at: the projects, the places of objects, and tables that objects hold."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import yaml

from components.artifacts import paths
from components.artifacts.lock import Lock
from components.cleaning.inventory import Entry, Root
from components.cleaning.places import ObjectPlace, places_of
from components.errors import BadInput
from components.settings import Settings
from components.storage import digests
from components.storage.dvc_hash import read_listing

logger = logging.getLogger("dp2o.gc")


class Kind(Protocol):
    """A row of the table: one kind of place.

    Attributes:
        name: as people choose it with `--only`.
        shared: whether machines share it, so that another one's branches may refer to it.
    """

    name: str
    shared: bool

    def roots(self, named: frozenset[str]) -> Iterable[Root]:
        """What is kept whatever happens, and is known here. `named` is what rows before have named."""

    def entries(self) -> Iterable[Entry]:
        """All things that are there. Their sizes may be left at 0 if `sized` tells them later."""

    def sized(self, entry: Entry) -> Entry:
        """The same with its size."""

    def remove(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        """Remove these, in this order; each is given when it is gone."""


class Named:
    """What most rows have in common: their things stay because others name them, and their sizes are listed at once."""

    def roots(self, named: frozenset[str]) -> Iterable[Root]:
        """None."""
        return ()

    def sized(self, entry: Entry) -> Entry:
        """It is known already."""
        return entry


def md5_name(md5: str) -> str:
    """Name of an object of DVC's."""
    return f"md5:{md5}"


def version_name(model: str, version: object) -> str:
    """Name of a registered model version."""
    return f"version:{model}/{version}"


def run_name(run: str) -> str:
    """Name of a run of MLflow's."""
    return f"run:{run}"


def group_name(folder: str, lr_id: str) -> str:
    """Name of an LR image's candidates in the cache; `folder` says which model, sampler and code made them."""
    return f"group:{folder}/{lr_id}"


def image_name(image_digest: str) -> str:
    """Name of a candidate by its pixels."""
    return f"image:{image_digest}"


@dataclass
class World:
    """What is looked at, at one moment.

    Attributes:
        settings, root: of the project that the command is about.
        others: roots of further projects that use the same store: what their branches name stays as well.
        oldest: seconds since 1970; what was written or used later stays.
        every_commit: whether every commit is kept, or branches and tags alone.
        notes: told at the end.
    """

    settings: Settings
    root: Path
    others: tuple[Path, ...] = ()
    oldest: float = 0.0
    every_commit: bool = False
    notes: list[str] = field(default_factory=list)
    _locks: dict[str, frozenset[str]] = field(default_factory=dict)
    _tables: dict[str, frozenset[str]] = field(default_factory=dict)

    @cached_property
    def places(self) -> list[ObjectPlace]:
        """DVC's cache and remote, and the store of flows."""
        return places_of(self.root, self.settings.run.shared_cache)

    @property
    def cache(self) -> Path:
        """Folder of finished work."""
        return self.root / self.settings.run.cache

    def object(self, md5: str) -> bytes | None:
        """Content of an object that is what its name says, from wherever it is; None where it is nowhere."""
        return next((found for place in self.places if (found := place.read(md5)) is not None), None)

    def listing(self, md5: str) -> frozenset[str]:
        """Names of the files of a folder; nothing where its listing is nowhere."""
        content = self.object(md5)
        if content is None:
            return frozenset()
        try:
            return frozenset(md5_name(file) for file in read_listing(content, f"the listing {md5}").values())
        except BadInput as error:
            self.notes.append(str(error))
            return frozenset()

    def named_by_lock(self, text: str, what: str) -> frozenset[str]:
        """All that a dvc.lock, or a `.dvc` file, names: objects, and the work in the cache that they were made of.

        Raises:
            BadInput: it is damaged.
        """
        key = digests.of_bytes(text.encode())
        if key not in self._locks:
            try:
                content = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise BadInput(f"{what} is damaged ({error}): nothing is removed until it is restored") from error
            named = {md5_name(md5) for md5 in _md5s(content)}
            for md5 in {str(entry["md5"]) for entry in _entries(content) if _is(entry, paths.CANDIDATE_ROWS)}:
                named |= self._candidates(md5, what)
            self._locks[key] = frozenset(named)
        return self._locks[key]

    def _candidates(self, md5: str, what: str) -> frozenset[str]:
        """Names of the groups and of one candidate each of the table with that md5."""
        if md5 not in self._tables:
            content = self.object(md5)
            if content is None:
                self.notes.append(
                    f"{paths.CANDIDATE_ROWS} of {what} is neither in DVC's cache nor in a remote: the cache of "
                    "candidates and scores is judged without it; `dvc fetch` brings it"
                )
            self._tables[md5] = frozenset() if content is None else _named_by_candidates(content)
        return self._tables[md5]


def _named_by_candidates(content: bytes) -> frozenset[str]:
    import pyarrow.parquet  # noqa: PLC0415  # takes long

    columns = ["lr_id", "image_digest", "model_digest", "sampler_digest", "code_version"]
    try:
        table = pyarrow.parquet.read_table(io.BytesIO(content), columns=columns).to_pydict()
    except (pyarrow.ArrowException, OSError, KeyError):
        return frozenset()  # of an earlier version of the contract: its cache is of no use either
    named: dict[str, str] = {}
    groups = set()
    for lr_id, image, *made_by in zip(*(table[name] for name in columns), strict=True):
        folder = digests.of_bytes("|".join(made_by).encode())[:16]
        groups.add(group_name(folder, lr_id))
        named.setdefault(lr_id, image_name(image))  # one of a group is enough to know its scores by
    return frozenset(groups | set(named.values()))


def _is(entry: dict[str, Any], path: Path) -> bool:
    return entry.get("path") == path.as_posix() and "md5" in entry


def _entries(content: Any) -> Iterator[dict[str, Any]]:
    """All mappings in a YAML document."""
    if isinstance(content, dict):
        yield content
        for value in content.values():
            yield from _entries(value)
    elif isinstance(content, list):
        for value in content:
            yield from _entries(value)


def _md5s(content: Any) -> Iterator[str]:
    return (str(entry["md5"]) for entry in _entries(content) if isinstance(entry.get("md5"), str))


def lock_digest(text: str) -> str:
    """As a registered version's tag has it; empty of what is no lock."""
    try:
        return Lock.parse(text).digest(("register",))
    except BadInput:
        return ""
