"""The images of a split that models are compared on, read one at a time."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.artifacts import paths, tables
from components.artifacts.shards import Shard, ShardFolder
from components.errors import BadInput
from components.storage import digests


@dataclass(frozen=True)
class EvaluationImage:
    """An LR `[h, w, 3]` and, where there is one, its HR `[H, W, 3]`, both 8-bit; `photo` is the source's digest."""

    lr_id: str
    photo: str
    prompt: str
    lr: NDArray[np.uint8]
    hr: NDArray[np.uint8] | None

    @property
    def restored_from(self) -> str:
        """Name of what restorations depend on beside their restorer: the LR and its prompt."""
        return f"{self.lr_id}-{digests.of_json(self.prompt)[:8]}"

    @property
    def scored_against(self) -> str:
        """Name of what scores depend on beside restorer and metrics: the same, and the HR."""
        hr = "none" if self.hr is None else digests.of_pixels(self.hr)
        return f"{self.restored_from}-{hr}"


class ImageFolder:
    """The images of a dataset below `root`, read by their rows."""

    def __init__(self, root: Path) -> None:
        self._shards = ShardFolder(root / paths.DATASET)

    def read(self, row: tables.Row) -> EvaluationImage:
        """The image of a row of the dataset."""
        lr_id, shard = row["lr_id"], self._shards[row["shard"]]
        hr = shard.image(f"{lr_id}.hr.png") if row["has_hr"] else None
        return EvaluationImage(lr_id, row["source"], row["prompt"], shard.image(f"{lr_id}.lr.png"), hr)


class EvaluationSet:
    """LR images in the order of their ids; iterating decodes one after the other, so that any number fits.

    Raises:
        BadInput: the dataset is missing or has no image of `split`.
    """

    def __init__(self, root: Path, split: str, shard: Shard | None = None) -> None:
        rows = tables.read_rows(root / paths.DATASET_ROWS, tables.DATASET)
        chosen = {row["lr_id"]: row for row in rows if row["split"] == split}
        if not chosen:
            raise BadInput(
                f"data/dataset.parquet has no image in the {split} split; raise prepare.split.{split} or add photos"
            )
        lr_ids = shard.take(chosen) if shard else sorted(chosen)
        self.root = root
        self.rows: Sequence[tables.Row] = [chosen[lr_id] for lr_id in lr_ids]
        self._images = ImageFolder(root)

    def first(self, count: int) -> "EvaluationSet":
        """The first `count` images, spread evenly over the photos, or all if there are fewer."""
        by_photo = sorted(self.rows, key=lambda row: (row["source"], row["lr_id"]))
        places = np.linspace(0, len(by_photo) - 1, min(count, len(by_photo))).round().astype(int)
        part = copy.copy(self)
        part.rows = sorted((by_photo[place] for place in places), key=lambda row: str(row["lr_id"]))
        return part

    def of_one_kind(self) -> "EvaluationSet":
        """The images with HR, or all where none has one: rewards with and without FR metrics do not average."""
        part = copy.copy(self)
        part.rows = [row for row in self.rows if row["has_hr"]] or self.rows
        return part

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[EvaluationImage]:
        yield from map(self._images.read, self.rows)

    @property
    def photos(self) -> dict[str, str]:
        """Source photo's digest by lr_id."""
        return {row["lr_id"]: row["source"] for row in self.rows}

    @property
    def with_hr(self) -> set[str]:
        """lr_ids of the images that have an HR."""
        return {row["lr_id"] for row in self.rows if row["has_hr"]}

    @property
    def scale(self) -> int:
        """HR size over LR size.

        Raises:
            BadInput: the images differ in it.
        """
        scales = sorted({row["scale"] for row in self.rows})
        if len(scales) > 1:
            raise BadInput(f"data/dataset.parquet mixes scales {scales}; run prepare again with one prepare.scale")
        return int(scales[0])
