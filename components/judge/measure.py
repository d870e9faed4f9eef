"""Restore and score the images of evaluation sets, through the cache, in worker processes where there is much to do."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from components.artifacts.images import to_tensor
from components.artifacts.shards import decode_png, encode_png
from components.artifacts.tables import Row
from components.judge.cache import EvaluationCache, Scores
from components.judge.images import EvaluationImage, EvaluationSet, ImageFolder
from components.judge.restorers import Models, Restore, Restorer
from components.metrics.suite import Suite, suite_digests
from components.metrics.weights import required
from components.progress import progress
from components.runtime.workers import Workers, most_workers, one_thread, size_of
from components.settings import Settings
from components.storage import digests


@dataclass(frozen=True)
class Measurement:
    """Raw metric values of one restoration. A metric that needs an HR the image lacks, or that failed, is absent."""

    lr_id: str
    index: int
    values: dict[str, float]


@dataclass(frozen=True)
class Measured:
    """All restorations of one restorer, by (lr_id, index), and what could not be scored."""

    name: str
    measurements: list[Measurement]
    failures: list[dict[str, str | int]]


@dataclass(frozen=True)
class _Item:
    """An image to be restored and scored: its row of the dataset below `root`, and names of the metrics."""

    restorer: Restorer
    root: Path
    row: Row
    metrics: tuple[str, ...]


class Judge:
    """A context in which models are measured; its end ends its workers.

    Args:
        settings: of the project in `root`, whose cache is used.
        metrics: names of all that may be asked for.
        device: where networks run.
        files: what workers load beside the metrics' weights, which decides how many there may be.

    Raises:
        BadInput: a metric is unknown or lacks its weights.
    """

    def __init__(
        self, settings: Settings, root: Path, metrics: Sequence[str], device: torch.device, files: Sequence[Path] = ()
    ) -> None:
        self.digests = suite_digests(metrics)
        self.cache = EvaluationCache(settings.run.cache_folder(root))
        self.models = Models()
        self._measurer = _Measurer(settings, root, tuple(metrics), device, self.models)
        weights = size_of(*files, *(file for name in metrics for file in required(name)))
        load = partial(_Measurer, settings, root, tuple(metrics), device)
        self._workers: Workers[_Item, tuple[str, str, Scores]] = Workers(
            load, settings, most_workers(settings, device, weights), lambda: self._measurer
        )

    def __enter__(self) -> Self:
        self._workers.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._workers.__exit__(kind, error, trace)

    def digest(self, metrics: Sequence[str]) -> str:
        """sha256 of some metrics' digests: what a cached score is good for."""
        return digests.of_json({name: self.digests[name] for name in metrics})

    def measure(
        self, restorers: Sequence[Restorer], images: EvaluationSet, metrics: Sequence[str] | None = None
    ) -> list[Measured]:
        """Measurements of each restorer on `images`, by `metrics`, or by all.

        Images that are in the cache are neither restored nor scored again.
        """
        names = tuple(self.digests if metrics is None else metrics)
        known = {
            (restorer.digest, image.lr_id): self.cache.scores(restorer.digest, self.digest(names), image)
            for image in images
            for restorer in restorers
        }
        for apart in (True, False):
            items = [
                _Item(restorer, images.root, row, names)
                for restorer in restorers
                for row in images.rows
                if restorer.apart == apart and known[restorer.digest, row["lr_id"]] is None
            ]
            if items:
                label = ", ".join(dict.fromkeys(item.restorer.name for item in items))
                results = self._workers.each(items, apart)
                for digest, lr_id, made in progress(results, desc=f"evaluate {label}", unit="image", total=len(items)):
                    known[digest, lr_id] = made
        return [
            _measured(restorer.name, {row["lr_id"]: known[restorer.digest, row["lr_id"]] for row in images.rows})
            for restorer in restorers
        ]

    def restored(self, restorer: Restorer, image: EvaluationImage) -> list[bytes]:
        """Restorations of `image` as PNGs by index, from the cache where they are there."""
        with one_thread():
            return self._measurer.restored(restorer, image)


def _measured(name: str, scores: dict[str, Scores | None]) -> Measured:
    measurements: list[Measurement] = []
    failures: list[dict[str, str | int]] = []
    for lr_id, found in scores.items():
        assert found is not None  # it was made
        for index in range(len(next(iter(found.values.values())))):
            raw = {metric: column[index] for metric, column in found.values.items()}
            measurements.append(
                Measurement(lr_id, index, {metric: value for metric, value in raw.items() if value is not None})
            )
        failures.extend({"model": name, "lr_id": lr_id, **failure} for failure in found.failures)
    return Measured(name, measurements, failures)


class _Measurer:
    """Restores and scores one image after the other, into the cache; in whatever process."""

    def __init__(
        self,
        settings: Settings,
        root: Path,
        metrics: tuple[str, ...],
        device: torch.device,
        models: Models | None = None,
    ) -> None:
        self._metrics, self._device, self._batch = metrics, device, settings.score.batch
        self._digests = suite_digests(metrics)
        self._cache = EvaluationCache(settings.run.cache_folder(root))
        self._models = models or Models()
        self._folders: dict[Path, ImageFolder] = {}
        self._restores: dict[str, Restore] = {}

    @cached_property
    def _suite(self) -> Suite:
        return Suite.load(list(self._metrics), self._device)

    def __call__(self, item: _Item) -> tuple[str, str, Scores]:
        """The restorer's digest, the image's lr_id, and the scores, which are in the cache then."""
        if item.root not in self._folders:
            self._folders[item.root] = ImageFolder(item.root)
        image = self._folders[item.root].read(item.row)
        suite = Suite([self._suite.metrics[name] for name in item.metrics])
        scores = _score(image, self.restored(item.restorer, image), suite, self._batch)
        self._cache.keep_scores(item.restorer.digest, suite.digest, image, scores)
        return item.restorer.digest, image.lr_id, scores

    def restored(self, restorer: Restorer, image: EvaluationImage) -> list[bytes]:
        """See `Judge.restored`."""
        found = self._cache.images(restorer.digest, image)
        if found is None:
            if restorer.digest not in self._restores:
                self._restores[restorer.digest] = restorer.load(self._models)
            found = [encode_png(restoration) for restoration in self._restores[restorer.digest](image)]
            self._cache.keep_images(restorer.digest, image, found)
        return found


def _score(image: EvaluationImage, restorations: list[bytes], suite: Suite, batch: int) -> Scores:
    candidates = to_tensor(*(decode_png(content) for content in restorations))
    hr = None if image.hr is None else to_tensor(image.hr)
    with torch.inference_mode():
        result = suite.score(candidates, hr, to_tensor(image.lr), batch)
    values: dict[str, list[float | None]] = {
        name: [float(value) if math.isfinite(value) else None for value in column]
        for name, column in result.values.items()
    }
    failures: list[dict[str, str | int]] = [
        {"index": failure.candidate, "metric": failure.metric, "reason": failure.reason, "detail": failure.detail}
        for failure in result.failures
    ]
    return Scores(values, failures)
