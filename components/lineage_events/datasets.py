"""Which data a stage reads and makes: dvc.yaml says so, here or beside the code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.storage import digests

PIPELINE = "dvc.yaml"
CODE = Path(__file__).parents[2]
"""Where this code is: the repository, or /app in a container. A task's workspace has no dvc.yaml of its own."""
CODE_FOLDER, CODE_FILE = "components", "code.yaml"
LARGEST = 256 * 2**20
"""Bytes of a file whose digest is taken for the event."""


@dataclass(frozen=True)
class Data:
    """Paths relative to the project's root."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def of_stage(root: Path, stage: str) -> Data:
    """What dvc.yaml says of a stage, without its code; nothing where it says nothing."""
    place = next((folder for folder in (root, CODE) if (folder / PIPELINE).is_file()), None)
    if place is None:
        return Data()
    stages = (yaml.safe_load((place / PIPELINE).read_text()) or {}).get("stages") or {}
    entry: Mapping[str, Any] = stages.get(stage) or {}
    inputs = [path for path in _paths(entry.get("deps")) if not _is_code(path)]
    made = [path for kind in ("outs", "metrics", "plots") for path in _paths(entry.get(kind))]
    return Data(tuple(inputs), tuple(dict.fromkeys(made)))


def version_of(path: Path) -> str:
    """sha256 of a file that is not too large; empty for all else."""
    return digests.of_file(path) if path.is_file() and path.stat().st_size <= LARGEST else ""


def _paths(entries: Any) -> list[str]:
    return [str(next(iter(entry)) if isinstance(entry, dict) else entry) for entry in entries or ()]


def _is_code(path: str) -> bool:
    return path == CODE_FILE or path.split("/", maxsplit=1)[0] == CODE_FOLDER or path.endswith(".py")
