"""Temporary folders that a dead process leaves behind, and that the next one removes.

Whoever makes one holds a lock on it, which the kernel lets go when the process ends, however it ends. What nobody
holds is nobody's. On file systems without locks nothing is swept.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_RANDOM = re.compile(r"[a-z0-9_]{8}")
"""What `tempfile` puts behind a prefix."""


@contextmanager
def held_folder(prefix: str, parent: Path) -> Iterator[Path]:
    """A new folder `<prefix>XXXXXXXX` in `parent`; removed at the end, if it is still there then.

    Those of the same prefix that dead processes left are removed first.
    """
    folder, handle = hold(prefix, parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def hold(prefix: str, parent: Path) -> tuple[Path, int]:
    """The same for as long as the handle is open, or this process lives; nobody removes it before."""
    sweep(prefix, parent)
    return _made(prefix, parent)


def sweep(prefix: str, parent: Path) -> list[Path]:
    """Remove all folders of that prefix in `parent` that nobody holds; which they were."""
    swept = []
    for entry in sorted(parent.glob(f"{_escaped(prefix)}*")):
        if not _RANDOM.fullmatch(entry.name.removeprefix(prefix)) or entry.is_symlink() or not entry.is_dir():
            continue
        handle = _locked(entry, wait=False)
        if handle is not None:
            shutil.rmtree(entry, ignore_errors=True)
            os.close(handle)
            swept.append(entry)
    return swept


def _made(prefix: str, parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        handle = _locked(folder, wait=True)
        if handle is None:
            handle = os.open(folder, os.O_RDONLY)
        if folder.exists():  # else it was swept before it was locked
            return folder, handle
        os.close(handle)


def _locked(folder: Path, wait: bool) -> int | None:
    """A handle that holds the lock of `folder`; None if another has it, or it is gone, or there are no locks."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            os.close(handle)
            return None
        return handle
    return None


def _escaped(prefix: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", prefix)
