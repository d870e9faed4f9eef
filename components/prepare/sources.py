"""The photos of a source folder: its files, and the members of its tar shards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from components.artifacts.shards import ShardReader
from components.photos.content import read_content
from components.photos.folder import TAR, Entry, entries, is_photo
from components.photos.limits import check_size
from components.storage import inputs


@dataclass(frozen=True)
class Photo:
    """One photo, unread; `name` is its path relative to the folder, of a member the shard's path and its own.

    `read` gives its content, of at most so many bytes, and raises as `read_content` does.
    """

    name: str
    read: Callable[[int], bytes]


def photos(folder: Path) -> tuple[list[Photo], list[Entry]]:
    """Everything below `folder` that is named as a photo, in the order of the paths; and what stands in a photo's place
    and cannot be used, each with its reason.

    Raises:
        BadInput: a tar is damaged.
    """
    found, aside = [], []
    here = {entry.path: entry for entry in entries(folder)}
    listed = {path: Entry(path, path.relative_to(folder).as_posix()) for path in inputs.below(folder)}
    for entry in sorted((listed | here).values(), key=lambda entry: entry.name.split("/")):
        if entry.problem is not None:
            aside.append(entry)
        elif is_photo(entry.name):
            found.append(Photo(entry.name, partial(read_content, entry.path)))
        elif entry.name.lower().endswith(TAR):
            shard = ShardReader(entry.path)
            found += [
                Photo(f"{entry.name}/{member}", partial(_read_member, shard, member))
                for member in sorted(shard)
                if is_photo(member)
            ]
    return found, aside


def _read_member(shard: ShardReader, member: str, max_bytes: int) -> bytes:
    check_size(shard.size(member), max_bytes)
    return shard.read(member)
