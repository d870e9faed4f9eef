"""The photos of a source folder: its files, and the members of its tar shards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from components.artifacts import inputs
from components.artifacts.shards import ShardReader
from components.photos.content import read_content
from components.photos.limits import check_size
from components.photos.reading import SUFFIXES


@dataclass(frozen=True)
class Photo:
    """One photo, unread; `name` is its path relative to the folder, of a member the shard's path and its own.

    `read` gives its content, of at most so many bytes, and raises as `read_content` does.
    """

    name: str
    read: Callable[[int], bytes]


def photos(folder: Path) -> list[Photo]:
    """Everything below `folder` that is named as a photo, in the order of the paths.

    Raises:
        BadInput: a tar is damaged.
    """
    found = []
    for path in sorted({*(path for path in folder.rglob("*") if path.is_file()), *inputs.below(folder)}):
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() in SUFFIXES:
            found.append(Photo(name, partial(read_content, path)))
        elif path.suffix == ".tar":
            shard = ShardReader(path)
            found += [
                Photo(f"{name}/{member}", partial(_read_member, shard, member))
                for member in sorted(shard)
                if PurePosixPath(member).suffix.lower() in SUFFIXES
            ]
    return found


def _read_member(shard: ShardReader, member: str, max_bytes: int) -> bytes:
    check_size(shard.size(member), max_bytes)
    return shard.read(member)
