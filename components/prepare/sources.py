"""The photos of a source folder: its files, and the members of its tar shards; their prompts; and which can be used."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from components.artifacts import tables
from components.artifacts.shards import ShardReader
from components.errors import BadInput
from components.photos.content import read_content
from components.photos.folder import TAR, Entry, entries, is_photo
from components.photos.limits import check_size
from components.photos.reading import SUFFIXES
from components.photos.unusable import UnusablePhotoError, printable
from components.prompts.manifest import read_prompts
from components.settings import PromptSettings
from components.storage import digests, inputs

logger = logging.getLogger("dp2o.prepare")


@dataclass(frozen=True)
class Photo:
    """One photo, unread; `name` is its path relative to the folder, of a member the shard's path and its own.

    `read` gives its content, of at most so many bytes, and raises as `read_content` does.
    """

    name: str
    read: Callable[[int], bytes]

    def read_again(self, max_bytes: int, digest: str) -> bytes:
        """The content, whose sha256 was `digest` before.

        Raises:
            BadInput: it is another one now.
        """
        data = self.read(max_bytes)
        if digests.of_bytes(data) != digest:
            raise BadInput(f"{printable(self.name)} changed while it was used: run again once it stays as it is")
        return data


@dataclass(frozen=True)
class RealLR:
    """The LR image of a real pair.

    Attributes:
        photo: its file.
        digest: sha256 of it.
        hr_digest: sha256 of the HR's file.
        within: rows and columns of its upper left part that the HR covers.
    """

    photo: Photo
    digest: str
    hr_digest: str
    within: tuple[int, int]


@dataclass(frozen=True)
class Source:
    """A photo that can be used.

    Attributes:
        photo: its file; of a real pair the HR's.
        digest: sha256 of the file; of a real pair that of its scene's first HR. Sources that share it share the split.
        prompt: of the manifest or the fixed one; a captioner's is made per LR.
        has_hr: true for an HR photo, false for a real LR image without one.
        lr: of a real pair; others with HR are degraded.
    """

    photo: Photo
    digest: str
    prompt: str
    has_hr: bool
    lr: RealLR | None = None

    @property
    def name(self) -> str:
        """Path relative to its source folder, for people."""
        return self.photo.name


Seen = dict[str, tuple[str, str]]
"""By pixel digest: the name of the first photo with these pixels, and the `digest` of its source."""


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


def named_photos(base: Path, named_by: str) -> tuple[list[Photo], list[tables.Row]]:
    """`photos` of a folder, and quarantine's rows of the others.

    Args:
        named_by: the setting or option that names the folder, for messages.

    Raises:
        BadInput: it is no folder, or there is nothing in it.
    """
    if not base.is_dir():
        raise BadInput(f"{named_by}: {base} is not a folder; name one that holds photos")
    found, aside = photos(base)
    if not found and not aside:
        raise BadInput(f"{named_by}: {base} holds no photo ({', '.join(sorted(SUFFIXES))})")
    return found, [set_aside(entry.name, entry.problem) for entry in aside if entry.problem]


def prompts_of(folder: Path, known: set[str], prompt: PromptSettings) -> Callable[[str], str]:
    """Prompt by file name: the fixed one, or the manifest's, where a photo without a row has the empty prompt."""
    if prompt.kind != "column":
        return lambda name: prompt.text
    found = read_prompts(folder / prompt.manifest, prompt.column, known)
    if len(found) < len(known):
        without = len(known) - len(found)
        logger.warning("%s: %d of %d photos have no row: their prompt is empty", prompt.manifest, without, len(known))
    return lambda name: found.get(name, "")


def set_aside(name: str, problem: UnusablePhotoError) -> tables.Row:
    """Quarantine's row of a file."""
    return {"stage": "prepare", "file": printable(name), "reason": str(problem.reason), "detail": problem.detail}


def _read_member(shard: ShardReader, member: str, max_bytes: int) -> bytes:
    check_size(shard.size(member), max_bytes)
    return shard.read(member)
