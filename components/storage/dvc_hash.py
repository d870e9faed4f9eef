"""What DVC calls the md5 of files and folders, so that what it recorded can be compared with what is here."""

import hashlib
import json
from pathlib import Path

from components.errors import BadInput
from components.storage import places
from components.storage.store import Content, md5_of

IGNORED_FOLDER, IGNORED_SUFFIX = "__pycache__", ".pyc"
"""Byte code does not count (.dvcignore)."""


def dvc_md5(path: Path) -> str:
    """Of a file its md5; of a folder that of its listing, ending in `.dir`."""
    if path.is_file():
        return md5_of(path).md5
    files = sorted(
        file.relative_to(path).as_posix()
        for file in path.rglob("*")
        if file.is_file() and file.suffix != IGNORED_SUFFIX and IGNORED_FOLDER not in file.relative_to(path).parts
    )
    return listing({name: md5_of(path / name) for name in files})[1]


def read_listing(content: bytes, what: str) -> dict[str, str]:
    """md5 by path relative to the folder, as DVC's listing of it says; `what` says whose it is.

    Raises:
        BadInput: it is no listing, or names a place outside the folder.
    """
    try:
        rows = [(str(row["relpath"]), str(row["md5"])) for row in json.loads(content)]
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{what} is no listing of DVC's ({error}): `dvc push` the folder again") from error
    for name, md5 in rows:
        try:
            places.relative(name)
            places.md5_name(md5)
        except ValueError as error:
            raise BadInput(f"{what}: {error}; nothing was written. Find out who may write to the store") from error
    return dict(rows)


def listing(files: dict[str, Content]) -> tuple[bytes, str]:
    """DVC's listing of a folder, and its md5; `files` by path relative to the folder."""
    rows = [{"md5": files[name].md5, "relpath": name} for name in sorted(files)]
    content = json.dumps(rows, sort_keys=True).encode()
    return content, hashlib.md5(content, usedforsecurity=False).hexdigest() + ".dir"
