"""Finished work outside the DVC outputs: a folder of this machine and, if one is named, a copy that machines share."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from components.storage.store import Store

logger = logging.getLogger(__name__)

SHARED = "cache"
T = TypeVar("T")


@dataclass(frozen=True)
class CacheFolder:
    """A folder whose files are also looked for, and put, in a store.

    Each kind of cache checks its own files, so that a damaged copy counts as absent.

    Attributes:
        path: on this machine.
        shared: the store, None where `run.shared_cache` names none.
        key: of this folder in the store.
    """

    path: Path
    shared: Store | None = None
    key: str = SHARED

    def below(self, *parts: str) -> "CacheFolder":
        """A folder in this one."""
        return CacheFolder(self.path.joinpath(*parts), self.shared, "/".join([self.key, *parts]))

    def fetch(self, path: Path) -> bool:
        """Whether the file `path` of this folder is here, after it was brought from the store if it is there alone."""
        return path.is_file() or self.fetch_again(path)

    def fetch_again(self, path: Path) -> bool:
        """Whether the store's copy of the file `path` was brought, in place of the one that is here."""
        return self.shared is not None and self.shared.fetch_file(self._key_of(path), path)

    def read(self, path: Path, parse: Callable[[bytes], T]) -> T | None:
        """What `parse` makes of the file `path` of this folder; of the store's copy where the file here is damaged.

        None where neither is there, or neither is intact. `parse` says by a ValueError, LookupError or TypeError that
        what it got is damaged.
        """
        for bring in (self.fetch, self.fetch_again):
            if not bring(path):
                continue
            try:
                return parse(path.read_bytes())
            except (OSError, ValueError, LookupError, TypeError) as error:  # pydantic's own is a ValueError
                logger.warning("%s is damaged and counts as absent: %s", path, " ".join(str(error).split())[:200])
        return None

    def keep(self, path: Path) -> None:
        """Copy the file `path` of this folder to the store."""
        if self.shared is not None:
            self.shared.keep_file(self._key_of(path), path)

    def shared_names(self) -> list[str]:
        """Names right below this folder in the store."""
        return [] if self.shared is None else self.shared.names(self.key)

    def forget(self, name: str) -> None:
        """Remove what is right below this folder in the store under `name`."""
        if self.shared is not None:
            self.shared.remove(f"{self.key}/{name}")

    def _key_of(self, path: Path) -> str:
        return f"{self.key}/{path.relative_to(self.path).as_posix()}"
