"""The field's public test sets: where their files are expected, what is known of them, and where people get them.

The table is sets.json; each fact has its source there. Nothing is downloaded. What could not be verified is null, and
is told as "see the set's page".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import BadInput

TABLE = Path(__file__).with_name("sets.json")
UNKNOWN = "see the set's page"


@dataclass(frozen=True)
class Folders:
    """Folders of one part of a set, relative to the folder of all sets; empty where the set has no such side."""

    lr: str
    hr: str

    @property
    def named(self) -> list[str]:
        return [folder for folder in (self.lr, self.hr) if folder]


@dataclass(frozen=True)
class TestSet:
    """One row of the table.

    Attributes:
        name: as it is typed.
        layouts: the ways in which people have its folders; the first that is there is taken.
        images: how many; None where that was not verified.
        licence: None where it was not verified.
        get: where people get it.
        sources: of what is said here.
    """

    __test__ = False  # for pytest, which takes it for a test

    name: str
    title: str
    layouts: tuple[tuple[Folders, ...], ...]
    images: int | None
    licence: str | None
    get: str
    sources: tuple[str, ...]

    def find(self, data: Path) -> tuple[Folders, ...]:
        """The folders of the first layout whose folders are all in `data`.

        Raises:
            BadInput: there is none; the message says what is looked for, and where people get it.
        """
        for layout in self.layouts:
            if all((data / folder).is_dir() for part in layout for folder in part.named):
                return layout
        wanted = "; or ".join(
            " and ".join(dict.fromkeys(f for part in one for f in part.named)) for one in self.layouts
        )
        raise BadInput(
            f"--data {data} does not hold {self.title}: its folders are {wanted}. Nothing is downloaded: get it at "
            f"{self.get}, and put it there"
        )

    @property
    def about(self) -> str:
        """One line for people."""
        count = f"{self.images} images" if self.images else f"number of images: {UNKNOWN}"
        return f"{self.title}; {count}; licence: {self.licence or UNKNOWN}; get it at {self.get}"


def load_sets() -> dict[str, TestSet]:
    """The table, by name."""
    return {row["name"]: _set(row) for row in json.loads(TABLE.read_text(encoding="utf-8"))}


def named(name: str) -> TestSet:
    """Raises BadInput if there is no such set."""
    known = load_sets()
    if name not in known:
        raise BadInput(f"there is no set {name!r}; name one of {', '.join(known)}")
    return known[name]


def _set(row: dict[str, Any]) -> TestSet:
    layouts = tuple(
        tuple(Folders(part.get("lr", ""), part.get("hr", "")) for part in layout) for layout in row["layouts"]
    )
    return TestSet(row["name"], row["title"], layouts, row["images"], row["licence"], row["get"], tuple(row["sources"]))
