"""From measurements to the figures of a table: means with intervals, Best, Mean and Worst of K samples. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.spread import expected_best, expected_worst
from components.judge.bootstrap import ClusterBootstrap
from components.judge.measure import Measurement
from components.metrics.table import info

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """One metric of one model on a set, in the metric's own units.

    Attributes:
        mean: over all images and samples that have a score.
        low, high: its interval, with the image as the unit that was drawn.
        best, worst: mean over images of the best and the worst of its K samples, by the metric's direction.
        deviation: mean over images of the standard deviation over its samples; 0 for one sample.
        missing: restorations that the metric could not judge.
    """

    mean: float
    low: float
    high: float
    best: float
    worst: float
    deviation: float
    missing: int


@dataclass(frozen=True)
class ModelFigures:
    """All metrics of one model on a set; `samples` restorations of each of `images`."""

    name: str
    images: int
    samples: int
    metrics: dict[str, Figure]


def figures_of(
    name: str,
    measurements: Sequence[Measurement],
    metrics: Sequence[str],
    clusters: Mapping[str, str],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> ModelFigures:
    """The figures of one model.

    Args:
        clusters: by lr_id, what was drawn from the world; images of one cluster are drawn together.
        resamples, confidence, seed: of the bootstrap.
    """
    rows = sorted(measurements, key=lambda row: (row.lr_id, row.index))
    bootstrap = ClusterBootstrap([clusters[row.lr_id] for row in rows], resamples, confidence, seed)
    found = {}
    for metric in metrics:
        values = np.array([row.values.get(metric, np.nan) for row in rows])
        if not np.isfinite(values).any():
            continue
        interval = bootstrap.mean(values)
        groups = _groups([row.lr_id for row in rows], values)
        sign = 1.0 if info(metric).higher_is_better else -1.0
        found[metric] = Figure(
            interval.mean,
            interval.low,
            interval.high,
            float(np.mean([sign * expected_best(sign * group, len(group)) for group in groups])),
            float(np.mean([sign * expected_worst(sign * group, len(group)) for group in groups])),
            float(np.mean([group.std(ddof=1) if len(group) > 1 else 0.0 for group in groups])),
            int(np.count_nonzero(~np.isfinite(values))),
        )
    images = {row.lr_id for row in rows}
    return ModelFigures(name, len(images), len(rows) // len(images), found)


def _groups(lr_ids: Sequence[str], values: Values) -> list[Values]:
    """Finite values of each image that has any."""
    names, members = np.unique(np.asarray(lr_ids), return_inverse=True)
    groups = [values[(members == place) & np.isfinite(values)] for place in range(len(names))]
    return [group for group in groups if len(group)]
