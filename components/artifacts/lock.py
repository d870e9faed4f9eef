"""What dvc.lock says: which stage made which files, from which, by their digests. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from components.errors import BadInput
from components.storage import digests

LOCK = "dvc.lock"


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


@dataclass(frozen=True)
class Lock:
    """A dvc.lock.

    Attributes:
        stages: by name, as DVC wrote them.
    """

    stages: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str, place: object = LOCK) -> "Lock":
        """The lock that `text` is; without stages where it is empty.

        Raises:
            BadInput: it is no dvc.lock; `place` is where it was found.
        """
        try:
            content = yaml.safe_load(text) or {}
            stages = content.get("stages", {})
        except (yaml.YAMLError, AttributeError) as error:
            raise BadInput(f"{place} is damaged ({error}): restore it with git") from error
        if not isinstance(stages, dict) or not all(isinstance(entry, dict) for entry in stages.values()):
            raise BadInput(f"{place} is damaged (its stages are no mapping): restore it with git")
        return cls(stages)

    def digest(self, without: Collection[str] = ()) -> str:
        """Of the stages, but for those named."""
        return digests.of_json({name: entry for name, entry in self.stages.items() if name not in without})

    @property
    def steps(self) -> list[Step]:
        """All stages, in no order."""
        return [
            Step(name, _items(entry.get("deps", ())), _items(entry.get("outs", ())))
            for name, entry in self.stages.items()
        ]

    def output(self, path: str) -> Item | None:
        """What a stage made at `path`; None where none makes it."""
        return next((item for step in self.steps for item in step.outputs if item.path == path), None)

    def leading_to(self, path: str) -> list[Step]:
        """The steps that `path` comes from, the last first: each after those that use what it made."""
        found: list[Step] = []
        maker = {item.path: step for step in self.steps for item in step.outputs}

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


def sources(found: Collection[Step]) -> tuple[Item, ...]:
    """What none of these steps made: data that came from outside, and code; by path."""
    made = {item.path for step in found for item in step.outputs}
    items = {item.path: item for step in found for item in step.inputs if item.path not in made}
    return tuple(items[path] for path in sorted(items))


def _items(entries: Collection[Mapping[str, Any]]) -> tuple[Item, ...]:
    return tuple(
        Item(entry["path"], str(entry.get("md5", "")), int(entry.get("size", 0)), int(entry.get("nfiles", 1)))
        for entry in entries
    )
