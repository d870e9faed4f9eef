"""Atomic publishing: nothing half-written is ever visible under its final name."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.storage.disk import tells_of_full_disk
from components.storage.temporary import held_folder


def _sync(path: Path) -> None:
    """fsync a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _world_readable(path: Path) -> None:
    # mkstemp and mkdtemp are private to the user; published artifacts are read by other users and containers.
    path.chmod(0o755 if path.is_dir() else 0o644)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and renamed to `path`, on error removed.

    Raises:
        DiskFull: there is no room for it; what was at `path` is as it was.
        BadInput: nothing may be written there.
    """
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    with tells_of_full_disk(path, folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _world_readable(temporary)
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it replaces `path` as a whole, on error it is removed.

    A rename cannot replace a folder that has content, so the old one is moved aside first: a crash between the two
    renames leaves no folder at `path`, never a mixed one. What dead processes left beside it is removed.
    """
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    with tells_of_full_disk(path, folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        with held_folder(f".{path.name}.", path.parent) as temporary:
            yield temporary
            for entry in [*temporary.rglob("*"), temporary]:
                _world_readable(entry)
                _sync(entry)
            if path.exists():
                with held_folder(f".{path.name}.old.", path.parent) as old:
                    path.rename(old / "old")
                    try:
                        temporary.rename(path)
                    except BaseException:
                        (old / "old").rename(path)
                        raise
            else:
                temporary.rename(path)
            _sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Publish `value` as indented JSON with a final newline; NaN is refused, since JSON has none."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Publish a text file."""
    with atomic_file(path) as temporary:
        temporary.write_text(text)
