"""What DVC tracks outside its pipeline, as `dvc add` would have recorded it, without having the old files here.

A folder that grows by one file is its old listing with one more line: no image of an earlier version passes through
the flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from components.artifacts.lock import LOCK, Lock
from components.errors import BadInput
from components.storage.dvc_hash import listing, read_listing
from components.storage.publish import write_text
from components.storage.store import Content, Store
from components.task.document import Input
from flows import sums


def tracked(root: Path, path: str) -> Input | None:
    """What `path` is: by its own `.dvc` file, or as an output in dvc.lock; None where it is tracked by neither.

    Raises:
        BadInput: a file is damaged.
    """
    own = root / f"{path}.dvc"
    entries: list[dict[str, Any]] = []
    if own.is_file():
        entries = _read(own).get("outs", [])
        entries = [entry | {"path": path} for entry in entries]
    elif (root / LOCK).is_file():
        made = Lock.parse((root / LOCK).read_text(), root / LOCK).output(path)
        if made is None:
            return None
        return sums.with_sums(root, Input(path=path, md5=made.md5, size=made.size, origin="store"))
    for entry in entries:
        found = Input(path=path, md5=entry["md5"], size=int(entry.get("size", 0)), origin="store")
        return sums.with_sums(root, found)
    return None


def track_file(root: Path, path: str, content: Content) -> list[str]:
    """Record a file whose content is in the store; the files that git should have."""
    entry = {"md5": content.md5, "size": content.size, "hash": "md5", "path": Path(path).name}
    sums.record(root, path, content.md5, {sums.ITSELF: content})
    return _record(root, path, entry)


def track_folder(root: Path, path: str, store: Store, files: Mapping[str, Content], grows: bool = False) -> list[str]:
    """Record a folder whose files are in the store; the files that git should have.

    Args:
        files: by path relative to the folder.
        grows: the files that the folder had stay, and these come to them.
    """
    contents: dict[str, Content] = {}
    before = tracked(root, path)
    size = 0
    if grows and before is not None:
        rows = read_listing(store.read_object(before.md5), f"the listing of {path}")
        contents = {name: Content(md5, 0, before.sha256.get(name, "")) for name, md5 in rows.items()}
        size = before.size
    size += sum(content.size for name, content in files.items() if name not in contents)
    contents |= files
    text, md5 = listing(contents)
    kept = store.keep_bytes(text, ".dir")
    if f"{kept.md5.removesuffix('.dir')}.dir" != md5:
        raise RuntimeError(f"the store kept the listing of {path} as {kept.md5}, it is {md5}")
    entry = {"md5": md5, "size": size, "nfiles": len(contents), "hash": "md5", "path": Path(path).name}
    sums.record(root, path, md5, contents)
    return _record(root, path, entry)


def _record(root: Path, path: str, entry: dict[str, Any]) -> list[str]:
    pointer = f"{path}.dvc"
    write_text(root / pointer, yaml.safe_dump({"outs": [entry]}, sort_keys=False))
    ignore = root / Path(path).parent / ".gitignore"
    lines = ignore.read_text().splitlines() if ignore.is_file() else []
    line = f"/{Path(path).name}"
    if line not in lines:
        write_text(ignore, "\n".join([*lines, line]) + "\n")
    return [pointer, *([sums.FILE] if (root / sums.FILE).is_file() else []), ignore.relative_to(root).as_posix()]


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = yaml.safe_load(file.read_text()) or {}
    except yaml.YAMLError as error:
        raise BadInput(f"{file} is damaged ({error}): restore it with git") from error
    return content
