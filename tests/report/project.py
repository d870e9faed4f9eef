"""A small project folder as all stages before report leave it; generate to pair and evaluate really run."""

import csv
import math
from pathlib import Path

from components.artifacts import tables
from components.evaluate import stage as evaluate
from components.generate import stage as generate
from components.pair import stage as pair
from components.report.curves import TRAINING_COLUMNS
from components.score import stage as score
from components.settings import Settings
from tests.evaluate import project

STEPS = 60


def settings(**blocks: dict[str, object]) -> Settings:
    """As evaluate's, with groups of six candidates and pages of few pictures."""
    small: dict[str, dict[str, object]] = {
        "generate": {"candidates": 6},
        "pair": {"top": 2},
        "report": {"groups_shown": 2, "sliders_shown": 3},
    }
    return project.settings(**(small | blocks))


def build(root: Path, used: Settings) -> Path:
    """Run the stages on the six crops below `root`; the curves are made up."""
    project.build(root)
    quarantine = [{"stage": "prepare", "file": "broken.jpg", "reason": "truncated", "detail": "<ends after 12 bytes>"}]
    tables.write_rows(root / "data/quarantine.parquet", tables.QUARANTINE, quarantine)
    for stage in (generate, score, pair, evaluate):
        stage.run(used, root, None)
    curve = [_training_row(step) for step in range(1, STEPS + 1)]
    _write_csv(root / "reports/training.csv", TRAINING_COLUMNS, curve)
    _write_csv(
        root / "reports/validation.csv",
        ("step", "reward", "gmsd", "piqe"),
        [(0, 0.5, 0.1, 40), (30, 0.58, 0.09, 38), (60, 0.55, 0.1, 39)],
    )
    return root


def _training_row(step: int) -> tuple[float, ...]:
    done, wobble = step / STEPS, 0.02 * math.sin(7.0 * step)
    return (
        step,
        math.log(2) - 0.1 * done + wobble,
        0.5 + 0.2 * done + wobble,
        0.4 * done + wobble,
        0.30 - 0.01 * done,
        0.31 + 0.02 * done,
        0.30,
        0.31,
        0.1,
        2.0 - done,
        2e-5,
    )


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[tuple[float, ...]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
