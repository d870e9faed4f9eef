"""Restore and score the images of an evaluation set with one restorer."""

import math
from dataclasses import dataclass

import torch
from tqdm import tqdm

from components.artifacts.images import to_tensor
from components.artifacts.shards import decode_png, encode_png
from components.judge.cache import EvaluationCache, Scores
from components.judge.images import EvaluationImage, EvaluationSet
from components.judge.restorers import Restorer
from components.metrics.suite import Suite


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


def measure(restorer: Restorer, images: EvaluationSet, suite: Suite, cache: EvaluationCache, batch: int) -> Measured:
    """Measurements of `restorer` on `images` by all metrics of `suite`, `batch` restorations a metric call.

    Images that are in the cache are neither restored nor scored again.
    """
    metrics = suite.digest
    measurements: list[Measurement] = []
    failures: list[dict[str, str | int]] = []
    for image in tqdm(images, desc=f"evaluate {restorer.name}", unit="image", total=len(images)):
        scores = cache.scores(restorer.digest, metrics, image)
        if scores is None:
            scores = _score(image, restored(restorer, image, cache), suite, batch)
            cache.keep_scores(restorer.digest, metrics, image, scores)
        count = len(next(iter(scores.values.values())))
        for index in range(count):
            raw = {name: column[index] for name, column in scores.values.items()}
            known = {name: value for name, value in raw.items() if value is not None}
            measurements.append(Measurement(image.lr_id, index, known))
        failures.extend({"model": restorer.name, "lr_id": image.lr_id, **failure} for failure in scores.failures)
    return Measured(restorer.name, measurements, failures)


def restored(restorer: Restorer, image: EvaluationImage, cache: EvaluationCache) -> list[bytes]:
    """Restorations of `image` as PNGs by index, from the cache where they are there."""
    found = cache.images(restorer.digest, image)
    if found is None:
        found = [encode_png(restoration) for restoration in restorer.restore(image)]
        cache.keep_images(restorer.digest, image, found)
    return found


def _score(image: EvaluationImage, restorations: list[bytes], suite: Suite, batch: int) -> Scores:
    candidates = to_tensor(*(decode_png(content) for content in restorations))
    reference = None if image.hr is None else to_tensor(image.hr)
    with torch.inference_mode():
        result = suite.score(candidates, reference, to_tensor(image.lr), batch)
    values: dict[str, list[float | None]] = {
        name: [float(value) if math.isfinite(value) else None for value in column]
        for name, column in result.values.items()
    }
    failures: list[dict[str, str | int]] = [
        {"index": failure.candidate, "metric": failure.metric, "reason": failure.reason, "detail": failure.detail}
        for failure in result.failures
    ]
    return Scores(values, failures)
