"""What dvc.lock says: which stage made which files, from which, by their digests. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from components.artifacts import digests


@dataclass(frozen=True)
class Item:
    """A file or folder as DVC recorded it.

    Attributes:
        md5: of the file, or of a folder's listing, with `.dir`.
        size: bytes of all its files.
        files: in a folder; 1 for a file.
    """

    path: str
    md5: str
    size: int
    files: int


@dataclass(frozen=True)
class Step:
    """One stage's run."""

    stage: str
    inputs: tuple[Item, ...]
    outputs: tuple[Item, ...]


def digest(content: Mapping[str, Any], without: Collection[str] = ()) -> str:
    """Of the stages, but for those named."""
    return digests.of_json({name: entry for name, entry in content.get("stages", {}).items() if name not in without})


def steps(content: Mapping[str, Any]) -> list[Step]:
    """All stages, in no order."""
    return [
        Step(name, _items(entry.get("deps", ())), _items(entry.get("outs", ())))
        for name, entry in content.get("stages", {}).items()
    ]


def leading_to(path: str, content: Mapping[str, Any]) -> list[Step]:
    """The steps that `path` comes from, the last first: each after those that use what it made."""
    found: list[Step] = []
    maker = {item.path: step for step in steps(content) for item in step.outputs}

    def visit(step: Step) -> None:
        if step in found:
            found.remove(step)  # somebody later uses it, too
        found.append(step)
        for item in step.inputs:
            if item.path in maker and maker[item.path] is not step:
                visit(maker[item.path])

    if path in maker:
        visit(maker[path])
    return found


def _items(entries: Collection[Mapping[str, Any]]) -> tuple[Item, ...]:
    return tuple(
        Item(entry["path"], str(entry.get("md5", "")), int(entry.get("size", 0)), int(entry.get("nfiles", 1)))
        for entry in entries
    )
