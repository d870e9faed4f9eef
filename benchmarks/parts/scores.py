"""Scores a second: our suite over a group, against pyiqa's own metrics, one image at a time."""

import contextlib
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyiqa
import torch
from torch import Tensor

from benchmarks.parts import model
from benchmarks.timing import Comparison, Contender, Lap, Laps, compare, interleaved
from components.errors import BadInput
from components.metrics.suite import Suite
from components.metrics.table import PRESETS, Kind, MetricInfo, info
from components.storage.packages import weights_folder

TARGET = 3.0
PUBLIC = "pyiqa, one image a call"


def metrics_with_peer() -> list[str]:
    """The embedded preset's metrics that pyiqa has."""
    preset = PRESETS["embedded"]
    return [name for name in (*preset.fr, *preset.nr, *preset.held_out) if info(name).pyiqa_name]


def public_metric(row: MetricInfo) -> Any:
    """The metric as `pyiqa.create_metric` gives it, with the weight file of `row`."""
    options = {"pretrained_model_path": str(weights_folder() / row.weights[0].path)} if row.weights else {}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it loads
        return pyiqa.create_metric(row.pyiqa_name, device="cpu", **options)


def public_loop(metric: Any, row: MetricInfo, candidates: Tensor, hr: Tensor) -> list[float]:
    """Scores as in pyiqa's README: image by image, the reference beside each."""
    references = (hr,) if row.kind is Kind.FR else ()
    return [float(metric(image[None], *references)) for image in candidates]


def measure(root: Path, names: Sequence[str], count: int, rounds: int) -> list[Comparison]:
    """A comparison a metric, and one of their total.

    Raises:
        BadInput: pyiqa lacks a metric.
    """
    unknown = [name for name in names if not info(name).pyiqa_name]
    if unknown:
        raise BadInput(f"--metrics {', '.join(unknown)}: pyiqa has no such metric, so there is nothing to compare with")
    hr, lr, candidates = model.group(root, count)
    comparisons: list[Comparison] = []
    total: Laps = {"ours": _nothing(rounds), PUBLIC: _nothing(rounds)}
    for name in names:
        suite, public = Suite.load([name], "cpu"), public_metric(info(name))
        agreed = torch.tensor(public_loop(public, info(name), candidates, hr), dtype=torch.float64)
        found = torch.from_numpy(suite.score(candidates, hr, lr).values[name])
        if not torch.allclose(agreed, found, rtol=1e-3, atol=1e-4):
            raise BadInput(
                f"metric {name}: ours {found.tolist()}, pyiqa's {agreed.tolist()}: no speed without equality"
            )
        ours = Contender("ours", count, partial(suite.score, candidates, hr, lr))
        peer = Contender(PUBLIC, count, partial(public_loop, public, info(name), candidates, hr))
        laps = interleaved([ours, peer], rounds)
        comparisons.append(compare(f"score, {name}", "scores/s", laps, ours, peer))
        total = {key: [_sum(*both) for both in zip(total[key], laps[key], strict=True)] for key in total}
    scores = count * len(names)
    everything = (Contender("ours", scores, lambda: None), Contender(PUBLIC, scores, lambda: None))
    comparisons.append(compare(f"score, all {len(names)}", "scores/s", total, *everything, TARGET))
    return comparisons


def _nothing(rounds: int) -> list[Lap]:
    return [Lap(0.0, 0.0)] * rounds


def _sum(one: Lap, other: Lap) -> Lap:
    return Lap(one.wall + other.wall, one.cpu + other.cpu)
