"""A full disk, and one that takes no writes, told by name: libraries say it in many ways, and torch hardly at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.errors import BadInput, DiskFull, UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_WORDS = ("no space left", "os error 28", "database or disk is full", "disk quota exceeded")
"""Of safetensors, SQLite and others, whose errors have no number."""
_OF_ANY_FAILURE = (
    *("pytorchstreamwriter", "unexpected pos", "file write failed"),
    *("unable to open database file", "disk i/o error", "no usable temporary directory"),
)
"""What torch, SQLite and `tempfile` say when a write fails, for whatever reason."""
LITTLE = 2**20
"""Bytes; with fewer left, such a write failed for want of them."""


def full_disk(error: BaseException, place: Path) -> DiskFull | None:
    """What to tell where `error` comes of a full disk; None where it does not.

    Args:
        place: what was being written, or the project's folder.
    """
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, DiskFull):
            return one
        text = str(one).lower()
        number = one.errno if isinstance(one, OSError) else None
        unsaid = any(word in text for word in _OF_ANY_FAILURE) and _free(place) < LITTLE
        if number in _FULL or unsaid or any(word in text for word in _WORDS):
            return DiskFull(
                f"{place} cannot be written: {os.strerror(number or errno.ENOSPC)}; make room on that disk and run the "
                "same command again: what is finished is kept. `dp2o gc` shows and removes what nothing refers to, "
                "and the folder that run.cache names may go, which costs time"
            )
        one = one.__cause__ or one.__context__
    return None


def unwritable(error: BaseException, place: Path, folder: Path | None = None) -> BadInput | None:
    """What to tell where `error` comes of a folder that takes no writes; None where it does not.

    Args:
        place: what was being written, or the project's folder.
        folder: in which `place` was to be made. Without it only a read-only file system counts: rights that are missing
            may be those of a file that was to be read.
    """
    if folder is not None and not folder.is_dir():
        return BadInput(f"{place} cannot be written: {folder} is a file and no folder; name another place")
    numbers = (errno.EROFS,) if folder is None else (errno.EROFS, errno.EACCES, errno.EPERM)
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, OSError) and one.errno in numbers and not os.access(folder or place, os.W_OK):
            return BadInput(
                f"{place} cannot be written: {one.strerror}; look at the rights of {folder or place}, "
                "or copy the project to where you may write"
            )
        one = one.__cause__ or one.__context__
    return None


@contextmanager
def tells_of_full_disk(place: Path, folder: Path | None = None) -> Iterator[None]:
    """Around a write to `place`, which is made in `folder`.

    Raises:
        DiskFull: the disk is full.
        BadInput: it takes no writes there, or `folder` is none. Any other error stays as it is.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        told = full_disk(error, place) or unwritable(error, place, folder)
        if told is None:
            raise
        raise told from error


def _free(place: Path) -> int:
    folder = next(parent for parent in (place, *place.absolute().parents) if parent.exists())
    return shutil.disk_usage(folder).free
