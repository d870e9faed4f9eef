"""Restorations and scores of finished images, found by everything that determines them.

An arena of twenty checkpoints samples and scores the base and the peers once; a killed evaluation continues.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from components.artifacts.shards import ShardReader, write_shard
from components.errors import BadInput
from components.judge.images import EvaluationImage
from components.storage import digests
from components.storage.cache import CacheFolder
from components.storage.publish import write_json


@dataclass(frozen=True)
class Scores:
    """Raw values of one image's restorations, per metric that applies and by index; None where a metric failed."""

    values: dict[str, list[float | None]]
    failures: list[dict[str, str | int]]
    """One a missing value: index, metric, reason, detail."""


_SCORES = TypeAdapter(Scores)


class EvaluationCache:
    """Two files an image and restorer: a tar of PNGs, and the scores. Damaged files count as absent."""

    def __init__(self, cache: CacheFolder) -> None:
        self._folder = cache.below("evaluate")

    def images(self, restorer: str, image: EvaluationImage) -> list[bytes] | None:
        """PNGs by index, or None where there are none yet."""
        path = self._images_path(restorer, image)
        return self._folder.read(path, lambda _: _members(path))

    def keep_images(self, restorer: str, image: EvaluationImage, images: list[bytes]) -> None:
        """Store PNGs by index."""
        members = [(f"{index:03d}.png", content) for index, content in enumerate(images)]
        path = self._images_path(restorer, image)
        write_shard(path, members)
        self._folder.keep(path)

    def scores(self, restorer: str, metrics: str, image: EvaluationImage) -> Scores | None:
        """Scores under the metrics of digest `metrics`, or None where there are none yet."""
        path = self._scores_path(restorer, metrics, image)
        return self._folder.read(path, lambda content: _SCORES.validate_json(content, strict=True))

    def keep_scores(self, restorer: str, metrics: str, image: EvaluationImage, scores: Scores) -> None:
        """Store scores."""
        path = self._scores_path(restorer, metrics, image)
        write_json(path, {"values": scores.values, "failures": scores.failures})
        self._folder.keep(path)

    def _images_path(self, restorer: str, image: EvaluationImage) -> Path:
        return self._folder.path / "restorations" / restorer[:16] / f"{image.restored_from}.tar"

    def _scores_path(self, restorer: str, metrics: str, image: EvaluationImage) -> Path:
        key = digests.of_json([restorer, metrics])[:16]
        return self._folder.path / "scores" / key / f"{image.scored_against}.json"


def _members(path: Path) -> list[bytes]:
    """What a shard has, in its order.

    Raises:
        ValueError: it is damaged.
    """
    try:
        shard = ShardReader(path)
        return [shard.read(name) for name in shard]
    except BadInput as error:
        raise ValueError(str(error)) from error
