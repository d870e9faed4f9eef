"""The frozen part of a study: what is compared, and proof that it is still the same.

A study is the folder studies/<name>. manifest.json and pictures/<opaque>.png never change; raters.json has who may
vote, and votes.jsonl what they said.
"""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from components.artifacts.documents import Section
from components.errors import BadInput
from components.storage import digests
from components.storage.publish import write_json

STUDIES = Path("studies")
MANIFEST, PICTURES = "manifest.json", "pictures"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Which = Literal["first", "second"]


class Model(Section):
    """One side of the comparisons.

    Attributes:
        name: as results call it.
        weights: digest of the weights, or of a peer's or a folder's content.
        restorer: digest of all that determines the restorations.
    """

    name: str
    weights: str
    restorer: str


class Side(Section):
    """A picture of a comparison.

    Attributes:
        picture: its file's stem, drawn at random.
        model: name of its model; in a check what was done to the picture.
        index: sample of the model, or candidate of the group.
        pixels: pixel digest.
        scores: raw metric values, and `reward` where it is known.
    """

    picture: str
    model: str
    index: int
    pixels: str
    scores: dict[str, float] = Field(default_factory=dict)


class Comparison(Section):
    """Two pictures of one LR image.

    Attributes:
        photo: the source's digest, the unit that intervals are clustered by.
        lr: the LR's picture.
        check: the first is better by construction.
    """

    id: str
    lr_id: str
    photo: str
    lr: str
    first: Side
    second: Side
    check: bool = False

    def side(self, which: Which) -> Side:
        """One of the two."""
        return self.first if which == "first" else self.second


class Manifest(Section):
    """All that a study is, but for raters and votes.

    Attributes:
        kind: `models` compares models; `candidates` compares candidates of LR groups, for training.
        question: what raters are asked.
        ties: whether they may say that there is no difference.
        seed: of orders and sides.
        per_rater: comparisons that each rater gets; None = all.
        repeats: comparisons that each rater gets a second time, sides exchanged.
        most_failed: share of failed checks above which a rater is excluded.
        pictures: sha256 of each file by stem.
        facts: what a reader should know, name and text.
    """

    version: Literal[1] = 1
    name: str
    kind: Literal["models", "candidates"]
    created: str
    question: str
    ties: bool
    seed: int
    per_rater: Annotated[int, Field(ge=1)] | None = None
    repeats: Annotated[int, Field(ge=0)]
    most_failed: Annotated[float, Field(ge=0.0, le=1.0)]
    models: tuple[Model, ...]
    comparisons: tuple[Comparison, ...]
    pictures: dict[str, str]
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def digest(self) -> str:
        """Hex sha256 of everything in it."""
        return digests.of_json(self.model_dump(mode="json"))

    @property
    def by_id(self) -> dict[str, Comparison]:
        """Comparisons by their id."""
        return {one.id: one for one in self.comparisons}

    @property
    def pairs(self) -> tuple[Comparison, ...]:
        """Comparisons that are no checks."""
        return tuple(one for one in self.comparisons if not one.check)

    @property
    def checks(self) -> tuple[Comparison, ...]:
        """Comparisons whose better side is certain."""
        return tuple(one for one in self.comparisons if one.check)


def folder_of(root: Path, name: str) -> Path:
    """Where study `name` of the project in `root` lies.

    Raises:
        BadInput: the name cannot be a folder's.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(f"study {name!r}: give a name of letters, digits, dots, dashes and underscores, 64 at most")
    return root / STUDIES / name


def found(root: Path, name: str) -> Path:
    """The folder of study `name`, which is there.

    Raises:
        BadInput: there is none of that name.
    """
    folder = folder_of(root, name)
    if not (folder / MANIFEST).is_file():
        have = sorted(path.parent.name for path in (root / STUDIES).glob(f"*/{MANIFEST}"))
        raise BadInput(
            f"there is no study {name} in {root / STUDIES} ({', '.join(have) or 'none'}); `dp2o study new` makes one"
        )
    return folder


def now() -> str:
    """UTC, ISO 8601, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json with its digest."""
    write_json(folder / MANIFEST, manifest.model_dump(mode="json") | {"digest": manifest.digest})


def read(folder: Path) -> Manifest:
    """The manifest in `folder`.

    Raises:
        BadInput: it is missing, damaged, or was changed.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_bytes())
        digest = content.pop("digest")
        manifest = Manifest.model_validate_json(json.dumps(content))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadInput(f"{path} cannot be read ({error}): restore the folder of the study") from error
    if manifest.digest != digest:
        raise BadInput(f"{path} is not what was frozen (its digest differs): restore the folder of the study")
    return manifest


def check_pictures(folder: Path, manifest: Manifest) -> None:
    """Refuse a study whose pictures are not those that were frozen.

    Raises:
        BadInput: one is missing or differs; says which comparison it is of.
    """
    for stem, wanted in manifest.pictures.items():
        path = folder / PICTURES / f"{stem}.png"
        if not path.is_file() or digests.of_file(path) != wanted:
            what = "is not what was frozen" if path.is_file() else "is missing"
            raise BadInput(f"{path} {what}: restore the folder of the study, or make a new one")
