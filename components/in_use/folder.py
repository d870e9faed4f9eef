"""Folders of one machine: a shared lock of everybody who works there, and the exclusive one of who removes.

The kernel lets a lock go when its process ends, however it ends: a crash leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from components.errors import BadInput, ResumeLater

logger = logging.getLogger("dp2o.in_use")

LOCK = "dp2o-in-use.lock"


@contextmanager
def in_use(root: Path, cache: Path) -> Iterator[None]:
    """Work in the project in `root` with its folder of finished work; waits where somebody removes things just now.

    On file systems without locks, and where nothing can be written, nothing keeps anybody apart.
    """
    with ExitStack() as stack:
        for path in _locks(root, cache):
            handle = _opened(path)
            if handle is None:
                continue
            stack.callback(os.close, handle)
            try:
                if not _taken(handle, fcntl.LOCK_SH):
                    logger.warning("waits for `dp2o gc`, which is removing things in %s", path.parent)
                    fcntl.flock(handle, fcntl.LOCK_SH)
            except OSError as error:
                logger.debug("%s: %s", path, error)
        yield


@contextmanager
def alone(root: Path, cache: Path) -> Iterator[None]:
    """Nobody works there meanwhile; who begins to, waits.

    Raises:
        ResumeLater: somebody does.
        BadInput: the file system has no locks, so that nobody knows.
    """
    with ExitStack() as stack:
        for path in _locks(root, cache):
            handle = _opened(path)
            if handle is None:
                raise BadInput(
                    f"{path} cannot be written, so that nobody knows who works in {root}: nothing is removed"
                )
            stack.callback(os.close, handle)
            try:
                free = _taken(handle, fcntl.LOCK_EX)
            except OSError as error:
                raise BadInput(
                    f"{path} cannot be locked ({error}), so that nobody knows who works in {root}: nothing is removed"
                ) from error
            if not free:
                raise ResumeLater(f"a run is at work in {root}: nothing is removed; run the same command after it")
        yield


def is_in_use(root: Path, cache: Path) -> bool:
    """Whether `alone` would be refused now."""
    try:
        with alone(root, cache):
            return False
    except (ResumeLater, BadInput):
        return True


def _locks(root: Path, cache: Path) -> list[Path]:
    """In DVC's own folder of temporary files, and in the cache, which workspaces of tasks and projects share."""
    found = []
    if (root / ".dvc").is_dir():
        found.append(root / ".dvc/tmp" / LOCK)
    if cache.is_dir():
        found.append(cache / f".{LOCK}")
    return found


def _opened(path: Path) -> int | None:
    try:
        path.parent.mkdir(exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return None


def _taken(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
