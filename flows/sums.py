"""sha256 of what dvc.lock and `.dvc` files know by md5 alone: a small file in git beside them.

md5 finds damage, and no longer a forger: two files of one md5 are made in minutes. What a flow records it also records
here, in the checkout, which the store cannot change; tasks carry it, and whoever fetches compares both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.errors import BadInput
from components.storage.publish import write_json
from components.storage.store import Content
from components.task.document import Input

FILE = "dvc.sha256.json"
ITSELF = ""
"""Name of a file in its own entry; a folder's have their paths relative to it."""


def known(root: Path, path: str, md5: str) -> dict[str, str]:
    """sha256 of the files of `path`, if what was recorded last has that md5; else nothing."""
    entry = _read(root).get(path, {})
    return dict(entry["sha256"]) if entry.get("md5") == md5 else {}


def with_sums(root: Path, entry: Input) -> Input:
    """An input with the sha256 of its files, as far as they are known."""
    if entry.origin != "store":
        return entry
    return entry.model_copy(update={"sha256": known(root, entry.path, entry.md5)})


def record(root: Path, path: str, md5: str, files: Mapping[str, Content]) -> None:
    """Keep the sha256 of what was recorded under `path`, in place of what was there.

    Args:
        files: by path relative to `path`, or the one of `ITSELF`. If any has no sha256, nothing is kept of `path`.
    """
    content = _read(root)
    content.pop(path, None)
    if files and all(one.sha256 for one in files.values()):
        content[path] = {"md5": md5, "sha256": {name: files[name].sha256 for name in sorted(files)}}
    if content or (root / FILE).is_file():
        write_json(root / FILE, dict(sorted(content.items())))


def _read(root: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((root / FILE).read_text())
        return {path: {"md5": str(one["md5"]), "sha256": dict(one["sha256"])} for path, one in content.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{root / FILE} is damaged ({error}): restore it with git, or remove it, and the next run makes it anew"
        ) from error
