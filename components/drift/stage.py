"""New LR images against the training set's → reports/drift.json and reports/drift.html."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from components.artifacts import paths, tables
from components.artifacts.retraining import DriftReport
from components.artifacts.shards import Shard, ShardFolder, ShardReader
from components.drift import pending as incoming
from components.drift.decision import decide
from components.drift.distance import compare
from components.drift.statistics import ABOUT, measure
from components.errors import BadInput
from components.pages.checks import Drawing, Page, Row, html
from components.pages.histogram import histogram
from components.photos.crops import choose_crops
from components.settings import Settings
from components.storage.publish import write_text

logger = logging.getLogger("dp2o.drift")

Picture = NDArray[np.uint8]
Values = dict[str, list[float]]
"""By statistic, one value a source picture: the mean of its crops, since crops of one picture are no independent
draws."""


def run(settings: Settings, root: Path, shard: Shard | None = None) -> None:
    """`run_drift`, as a stage is run.

    Raises:
        BadInput: a shard is asked for, or see there.
    """
    if shard is not None:
        raise BadInput("drift compares whole distributions and cannot run in shards: leave --shard out")
    run_drift(settings, root)


def run_drift(settings: Settings, root: Path) -> DriftReport:
    """Compare what came in since the last training with what that training was on, decide, and publish both reports.

    Both are measured on LR crops of the same size, cut by the same rule.

    Raises:
        BadInput: a table or shard is damaged or not here, or the metric cannot be loaded.
    """
    new = incoming.pending(root)
    shards = tuple(sorted({str(row["shard"]) for row in new}))
    training_set: Values = {}
    found: Values = {}
    if new:
        score = _Score(settings)
        training_set = _measured(_training_set(settings, root, set(shards)), score)
        found = _measured(_new_images(settings, root, new), score)
    names = list(ABOUT) if new else []
    limits = settings.drift
    comparisons = tuple(
        compare(name, training_set.get(name, []), found.get(name, []), limits, len(names)) for name in names
    )
    report = DriftReport(decision=decide(len(new), comparisons, limits), comparisons=comparisons, shards=shards)
    report.write(root)
    write_text(root / paths.DRIFT_PAGE, html(_page(settings, report, training_set, found)))
    logger.info("%s", report.decision.text)
    return report


class _Score:
    """The NR metric of an LR, enlarged to the output's size, where metrics are defined."""

    def __init__(self, settings: Settings) -> None:
        from components.metrics.suite import Suite  # noqa: PLC0415
        from components.runtime.process import resolve_device  # noqa: PLC0415

        name = settings.drift.metric
        self._suite = Suite.load([name], resolve_device(settings.run.device))
        if not self._suite.applicable(has_hr=False):
            raise BadInput(f"drift.metric {name} needs an HR, which new images lack: name an NR metric")
        self._name, self._scale = name, settings.prepare.scale

    def __call__(self, lr: Picture) -> float:
        """NaN where the metric gives none."""
        from components.artifacts.images import to_tensor  # noqa: PLC0415

        size = (lr.shape[1] * self._scale, lr.shape[0] * self._scale)
        enlarged = np.ascontiguousarray(cv2.resize(lr, size, interpolation=cv2.INTER_CUBIC))
        scores = self._suite.score(to_tensor(enlarged), None, to_tensor(lr))
        return float(scores.values[self._name][0])


def _measured(pictures: Iterable[tuple[str, Picture]], score: _Score) -> Values:
    """Means by source of the statistics of its crops."""
    by_source: dict[str, list[dict[str, float]]] = defaultdict(list)
    for source, lr in pictures:
        by_source[source].append(measure(lr) | {"score": score(lr)})
    names = list(ABOUT)
    return {
        name: [float(np.mean([crop[name] for crop in crops])) for _, crops in sorted(by_source.items())]
        for name in names
    }


def _training_set(settings: Settings, root: Path, without: set[str]) -> Iterator[tuple[str, Picture]]:
    """LR images of the align split, at most `drift.sample` source pictures, none of the shards `without`."""
    path = root / paths.DATASET_ROWS
    if not path.is_file():
        return  # there is nothing to compare with, and the comparison says so
    rows = [
        row
        for row in tables.read_rows(path, tables.DATASET)
        if row["split"] == "align" and (row["has_hr"] or str(row["source_name"]).split("/")[0] not in without)
    ]
    # `source` is a digest: its order is as good as random, and the same every time
    chosen = set(sorted({str(row["source"]) for row in rows})[: settings.drift.sample])
    shards = ShardFolder(root / paths.DATASET)
    for row in rows:
        if row["source"] in chosen:
            yield str(row["source"]), shards[str(row["shard"])].image(f"{row['lr_id']}.lr.png")


def _new_images(settings: Settings, root: Path, rows: list[tables.Row]) -> Iterator[tuple[str, Picture]]:
    """Crops of the new pictures, as prepare will cut them."""
    side = settings.prepare.crop // settings.prepare.scale
    readers: dict[str, ShardReader] = {}
    for row in rows:
        shard = str(row["shard"])
        if shard not in readers:
            readers[shard] = ShardReader(root / paths.INCOMING / shard)
        picture = readers[shard].image(f"{row['pixels']}.png")
        for x, y in choose_crops(picture, side, settings.prepare.crops_per_photo):
            yield str(row["pixels"]), np.ascontiguousarray(picture[y : y + side, x : x + side])


_STYLES = {"same": "good", "drift": "bad", "unknown": "unsure", "too few": "unsure"}


def _page(settings: Settings, report: DriftReport, training_set: Values, found: Values) -> Page:
    limits = settings.drift
    rows = [
        Row(
            row.name,
            "–" if row.psi is None else f"PSI {row.psi:.3f}, KS {row.ks:.3f}",
            f"PSI < {limits.psi:g} or p ≥ {limits.alpha / len(report.comparisons):.2g}",
            row.verdict,
            _STYLES[row.verdict],
            row.reason,
        )
        for row in report.comparisons
    ]
    drawings = [
        Drawing(name, histogram(name, about, training_set.get(name, []), found.get(name, [])))
        for name, about in ABOUT.items()
        if report.comparisons
    ]
    counts = {name: len(next(iter(values.values()), [])) for name, values in (("old", training_set), ("new", found))}
    facts = [
        ("training set", f"{counts['old']} source pictures of the align split"),
        (
            "new",
            f"{report.decision.new} pictures of {len(report.shards)} intakes: {', '.join(report.shards) or 'none'}",
        ),
        ("NR score", f"{limits.metric} of the LR, enlarged {settings.prepare.scale} times by bicubic interpolation"),
    ]
    decision = report.decision
    return Page(
        title="LR images: what is new against the training set",
        verdict="Train again" if decision.retrain else "No new training",
        style="bad" if decision.retrain else "good",
        lines=decision.reasons or (decision.text,),
        rows=rows,
        drawings=drawings,
        legend=("training set", "new pictures"),
        facts=facts,
    )
