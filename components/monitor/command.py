"""Scores a sample of production → reports/monitor.json, reports/monitor.html, and MLflow."""

from __future__ import annotations

import logging
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
from mlflow.entities import Metric

from components.artifacts import paths, tables
from components.artifacts.gate_report import GateReport
from components.artifacts.images import to_tensor
from components.errors import BadInput
from components.judge.guards import measure_guards
from components.metrics.suite import Suite
from components.metrics.table import Kind, info
from components.monitor.health import Health, judge
from components.monitor.pairs import Pair, newest_pairs
from components.pages.checks import Drawing, Page, Row, html
from components.pages.histogram import histogram
from components.photos.crops import choose_crops
from components.registry.fetch import Found, champion, file_of
from components.registry.tracking import connected, experiment_id
from components.registry.trust import trust_of
from components.registry.versions import gate_report, production_name
from components.runtime.process import resolve_device
from components.settings import Settings
from components.storage.publish import write_json, write_text

logger = logging.getLogger("dp2o.monitor")

EVALUATION = paths.EVALUATION_ROWS.as_posix()
"""Artifact of the run that has the champion's files."""
EXPERIMENT = "-monitor"

Scores = dict[str, list[float]]


@dataclass(frozen=True)
class Record:
    """What is known of the champion: its name and version, its gate's report, its scores when it was evaluated."""

    champion: str
    gate: GateReport | None
    evaluated: Scores


def run_monitor(settings: Settings, root: Path) -> Health:
    """Score the newest pairs and judge them by the champion's record; publish page, report, and a run in MLflow.

    Raises:
        BadInput: there is no champion, or the pairs' place or a metric cannot be used.
        ResumeLater: the registry or S3 is away.
    """
    watched, prepare = settings.monitor, settings.prepare
    metrics = [
        name for name in dict.fromkeys([*settings.score.nr, *settings.score.held_out]) if info(name).kind is Kind.NR
    ]
    with connected(settings.register_, root) as client:
        record = _record(client, settings, root, metrics)
    suite = Suite.load([*metrics, "lr_consistency"], resolve_device(settings.run.device))
    found: Scores = defaultdict(list)
    broken: list[str] = []
    count = 0
    # a folder of the settings is relative to them
    place = str(root / watched.pairs) if watched.pairs and "://" not in watched.pairs else watched.pairs
    for pair in newest_pairs(place, watched.sample, prepare.scale, watched.max_pixels):
        count += 1
        scores = {} if pair.fault else _scores(pair, suite, settings)
        if not scores:
            broken.append(f"{pair.name!r}: {pair.fault or 'smaller than one crop'}")
        for name, value in scores.items():
            found[name].append(value)
    directions = {name: info(name).higher_is_better for name in metrics}
    health = judge(record.champion, count, broken, found, record.evaluated, directions, watched, settings.gate)
    write_json(root / paths.MONITOR_REPORT, health.as_json())
    write_text(root / paths.MONITOR_PAGE, html(_page(settings, record, health, found, count)))
    with connected(settings.register_, root) as client:
        _log(client, settings, root, health)
    logger.info("%s", health.text)
    return health


def _record(client: mlflow.MlflowClient, settings: Settings, root: Path, metrics: list[str]) -> Record:
    name = production_name(settings.register_.model_name)
    found = champion(client, settings.register_, trust_of(settings.gate, root), name)
    if found is None:
        raise BadInput(f"{name} has no champion: nothing serves that could be watched; `dp2o promote` makes one")
    evaluated: Scores = {}
    with tempfile.TemporaryDirectory() as folder:
        path = _evaluated(client, found, Path(folder))
        if path is not None:
            columns, rows = tables.read_any(path)
            aligned = [row for row in rows if row["model"] == "aligned"]
            evaluated = {
                name: [float(row[name]) if row[name] is not None else float("nan") for row in aligned]
                for name in metrics
                if name in columns
            }
    report = gate_report(found.version) if found.record is None else found.record.content.report
    return Record(found.name, report, evaluated)


def _evaluated(client: mlflow.MlflowClient, found: Found, folder: Path) -> Path | None:
    """Rows of the evaluation as they were promoted; of an older champion those of its training's run; None without."""
    if found.record is not None:
        return file_of(client, found, EVALUATION)
    listed = {file.path for file in client.list_artifacts(found.version.run_id, "reports")}
    return (
        Path(client.download_artifacts(found.version.run_id, EVALUATION, str(folder))) if EVALUATION in listed else None
    )


def _scores(pair: Pair, suite: Suite, settings: Settings) -> dict[str, float]:
    """Means over the pair's crops, cut as the training set's are: metrics depend on a picture's size. Empty: too
    small."""
    scale, side = settings.prepare.scale, settings.prepare.crop // settings.prepare.scale
    by_crop = []
    for x, y in choose_crops(pair.lr, side, settings.prepare.crops_per_photo):
        lr = np.ascontiguousarray(pair.lr[y : y + side, x : x + side])
        sr = np.ascontiguousarray(pair.sr[y * scale : (y + side) * scale, x * scale : (x + side) * scale])
        values = suite.score(to_tensor(sr), None, to_tensor(lr)).values
        by_crop.append({name: float(raw[0]) for name, raw in values.items()} | measure_guards(sr, lr))
    return {name: float(np.mean([crop[name] for crop in by_crop])) for name in by_crop[0]} if by_crop else {}


def _page(settings: Settings, record: Record, health: Health, found: Scores, count: int) -> Page:
    rows = [
        Row(
            row.name,
            "–" if row.value is None else f"{row.value:.4g}",
            f"{row.threshold:.4g}",
            row.verdict,
            "good" if row.verdict == "yes" else "bad",
            row.reason,
        )
        for row in health.rows
    ]
    drawings = [
        Drawing(name, histogram(name, "one value a pair", record.evaluated.get(name, []), values))
        for name, values in sorted(found.items())
    ]
    gate = record.gate
    promoted = f"{gate.challenger} against {gate.champion} on {gate.benchmark}" if gate is not None else "none"
    facts = [
        ("champion", record.champion),
        ("pairs", f"{count} of {settings.monitor.pairs}"),
        ("gate's record", promoted),
        (
            "when evaluated",
            "its restorations of the test split; production is other pictures, so some distance is normal",
        ),
    ]
    return Page(
        title=f"What {record.champion} restores in production",
        verdict="Healthy" if health.healthy else "Not healthy",
        style="good" if health.healthy else "bad",
        lines=[f"{row.name}: {row.reason}" for row in health.rows if row.verdict == "no"],
        rows=rows,
        drawings=drawings,
        legend=("when evaluated", "production"),
        facts=facts,
    )


def _log(client: mlflow.MlflowClient, settings: Settings, root: Path, health: Health) -> None:
    """A run in the experiment beside the trainings': figures that MLflow draws over time."""
    watched = settings.register_.model_copy(update={"experiment": f"{settings.register_.experiment}{EXPERIMENT}"})
    tags = {"dp2o.champion": health.champion, "dp2o.healthy": str(health.healthy).lower()}
    run = client.create_run(experiment_id(client, watched, root), run_name=health.champion, tags=tags)
    now = int(time.time() * 1000)
    points = [Metric("healthy", float(health.healthy), now, 0)]
    points += [Metric(row.name.replace(" ", "."), row.value, now, 0) for row in health.rows if row.value is not None]
    client.log_batch(run.info.run_id, metrics=points)
    for path in (paths.MONITOR_REPORT, paths.MONITOR_PAGE):
        client.log_artifact(run.info.run_id, str(root / path))
    client.set_terminated(run.info.run_id)
