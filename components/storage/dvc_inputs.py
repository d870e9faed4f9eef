"""What DVC makes of a folder that people filled: it hashes what can be read, and no more.

Of itself DVC waits for ever at a pipe, ends at a broken link, a socket or a file without the right to read, and has no
way to keep the hash of a file whose name is no UTF-8. What it hashes without these is what it would hash anyway.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any


@cache
def hash_what_can_be_read() -> None:
    """From now on, in this process: of folders, DVC passes over what cannot be read.

    A file whose name is no UTF-8 is hashed each time, since DVC's database takes no such name.
    """
    import dvc.repo  # noqa: PLC0415 - a second to import
    from dvc.ignore import DvcIgnoreFilter  # noqa: PLC0415
    from dvc_data.hashfile import state  # noqa: PLC0415

    class Readable(DvcIgnoreFilter):  # type: ignore[misc]
        """Walks over files that can be read."""

        def walk(self, fs: Any, path: str, **options: Any) -> Iterator[tuple[str, Any, Any]]:
            for root, folders, files in super().walk(fs, path, **options):
                if fs.protocol == "local":
                    for name in [name for name in files if not _readable(os.path.join(root, name))]:
                        files.remove(name) if isinstance(files, list) else files.pop(name)
                yield root, folders, files

    class Named(state.State):  # type: ignore[misc]
        """Keeps the hashes of files that it can name."""

        def save(self, path: str, *arguments: Any, **options: Any) -> None:
            if is_utf8(path):
                super().save(path, *arguments, **options)

        def save_many(self, items: Iterable[tuple[str, Any, Any]], fs: Any) -> None:
            super().save_many([item for item in items if is_utf8(item[0])], fs)

        def get(self, path: str, *arguments: Any, **options: Any) -> Any:
            return super().get(path, *arguments, **options) if is_utf8(path) else (None, None)

        def get_many(self, items: Iterable[str], *arguments: Any) -> Iterator[tuple[str, Any, Any]]:
            paths = list(items)
            yield from ((path, None, None) for path in paths if not is_utf8(path))
            yield from super().get_many([path for path in paths if is_utf8(path)], *arguments)

    dvc.repo.DvcIgnoreFilter = Readable
    state.State = Named


def linked_folders(folder: Path) -> list[Path]:
    """Links to folders in `folder`, at any depth, without those that lead back; DVC does not follow them of itself."""
    found: list[Path] = []
    ahead: list[tuple[Path, frozenset[tuple[int, int]]]] = [(folder, frozenset())]
    while ahead:
        place, around = ahead.pop()
        try:
            status = place.stat()
            inner = [name for name in sorted(os.listdir(place), reverse=True) if os.path.isdir(place / name)]
        except OSError:
            continue
        identity = (status.st_dev, status.st_ino)
        if identity in around:
            continue
        if around and place.is_symlink():
            found.append(place)
        ahead += [(place / name, around | {identity}) for name in inner]
    return found


def _readable(path: str) -> bool:
    """Whether it is a file, through links, and its rights let us read it."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode) and os.access(path, os.R_OK)
    except OSError:
        return False


def is_utf8(path: str | Path) -> bool:
    """Whether its name is: the bytes of others are surrogates, as Python has them."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
