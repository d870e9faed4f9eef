"""Large inputs of a task that are brought from the store when they are first opened.

A task that reads a few shards of a folder pays for those alone, without anyone saying beforehand which they are.
"""

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from components.storage.publish import write_json
from components.storage.store import Content, Store

VARIABLE = "DP2O_INPUTS"
"""Names the file that `list_inputs` wrote; without it nothing is brought."""


def list_inputs(path: Path, store_url: str, root: Path, files: Mapping[str, Content]) -> None:
    """Write the list of what may be brought: contents by path relative to `root`."""
    listed = {name: [content.md5, content.size, content.sha256] for name, content in files.items()}
    write_json(path, {"store": store_url, "root": str(root), "files": listed})


def bring(path: Path) -> None:
    """Bring the file from the store if it is listed and not here; nothing happens to any other.

    Raises:
        CorruptInput: the object is not in the store, or is not what its name says.
        ResumeLater: the store stays away.
    """
    listed = os.environ.get(VARIABLE)
    if not listed or path.exists():
        return
    store, root, files = _opened(Path(listed))
    try:
        name = path.resolve().relative_to(root).as_posix()
    except ValueError:
        return
    if name in files:
        store.fetch(files[name], path)


def below(folder: Path) -> list[Path]:
    """Files below `folder` that are listed, here or not yet: what a search of the folder itself may miss."""
    listed = os.environ.get(VARIABLE)
    if not listed:
        return []
    _, root, files = _opened(Path(listed))
    try:
        prefix = folder.resolve().relative_to(root).as_posix()
    except ValueError:
        return []
    return [folder / name.removeprefix(f"{prefix}/") for name in files if name.startswith(f"{prefix}/")]


@cache
def _opened(path: Path) -> tuple[Store, Path, dict[str, Content]]:
    content = json.loads(path.read_text())
    files = {name: Content(*known) for name, known in content["files"].items()}
    return Store(content["store"]), Path(content["root"]).resolve(), files
