"""What lies in a folder of photos, as people have them: links, names in any bytes, files that cannot be read.

Each file that is named as a photo, or as a tar of photos, is either found or set aside with a reason; nothing ends the
walk. Links to folders are followed; one that leads back to a folder that it lies in is set aside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from components.photos.reading import SUFFIXES
from components.photos.unusable import Reason, UnusablePhotoError

TAR = ".tar"
DEEPEST = 100
"""Folders in folders that are followed."""
_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}


@dataclass(frozen=True)
class Entry:
    """A file below a folder, or something in the place of one.

    Attributes:
        path: of the file.
        name: relative to the folder, with slashes; bytes that are no UTF-8 are surrogates, as Python has them.
        problem: why it cannot be used; None for what can be tried.
    """

    path: Path
    name: str
    problem: UnusablePhotoError | None = None


def entries(folder: Path) -> Iterator[Entry]:
    """Photos, tars, and what stands in their place, by the order of their names."""
    yield from sorted(_walk(folder, "", ()), key=lambda entry: entry.name.split("/"))


def any_photo(folder: Path) -> bool:
    """Whether a photo or a tar is in there that can be tried."""
    return any(entry.problem is None for entry in _walk(folder, "", ()))


def is_photo(name: str) -> bool:
    """Whether a file of that name is taken for a photo."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _walk(folder: Path, below: str, around: tuple[tuple[int, int], ...]) -> Iterator[Entry]:
    """Entries of `folder`, whose name relative to the first is `below`; `around` are the folders that it lies in."""
    try:
        status = folder.stat()
        listed = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield Entry(folder, below or ".", _unreadable("the folder cannot be read", error))
        return
    identity = (status.st_dev, status.st_ino)
    if len(around) == DEEPEST:
        yield Entry(folder, below, UnusablePhotoError(Reason.UNSUPPORTED, f"more than {DEEPEST} folders deep"))
        return
    if identity in around:
        yield Entry(folder, below, UnusablePhotoError(Reason.LINK, "a link to a folder that it lies in"))
        return
    for entry in listed:
        name = f"{below}/{entry.name}" if below else entry.name
        path = folder / entry.name
        wanted = is_photo(entry.name) or entry.name.lower().endswith(TAR)
        try:
            mode = path.stat().st_mode
        except OSError as error:
            if wanted or entry.is_symlink():
                yield Entry(path, name, _broken(path, error))
            continue
        if stat.S_ISDIR(mode):
            yield from _walk(path, name, (*around, identity))
        elif wanted and stat.S_ISREG(mode):
            yield Entry(path, name, None if os.access(path, os.R_OK) else _not_ours())
        elif wanted:
            kind = _KINDS.get(stat.S_IFMT(mode), "no file")
            yield Entry(path, name, UnusablePhotoError(Reason.UNSUPPORTED, f"it is {kind}, not a file"))


def _not_ours() -> UnusablePhotoError:
    return UnusablePhotoError(Reason.UNREADABLE, "the file cannot be opened: its rights do not let us read it")


def _unreadable(what: str, error: OSError) -> UnusablePhotoError:
    return UnusablePhotoError(Reason.UNREADABLE, f"{what}: {error.strerror}")


def _broken(path: Path, error: OSError) -> UnusablePhotoError:
    if not path.is_symlink():
        return _unreadable("the file cannot be read", error)
    return UnusablePhotoError(Reason.LINK, f"a link that leads nowhere: {error.strerror}")
