"""Reports and settings as MLflow takes them: metrics by name, curves by step, params as text. Pure."""

import csv
import io
import math
import re
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Metric

from components.artifacts.evaluation import Evaluation

_FORBIDDEN = re.compile(r"[^\w\-. /:]")


def metric_name(name: str) -> str:
    """`name` with what MLflow forbids in names spelt out: `clipiqa+` becomes `clipiqa_plus`."""
    return _FORBIDDEN.sub("_", name.replace("+", "_plus"))


def flatten(values: Mapping[str, Any], separator: str) -> dict[str, Any]:
    """Leaves of nested mappings, by their joined keys."""
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            leaves |= {f"{key}{separator}{inner}": leaf for inner, leaf in flatten(value, separator).items()}
        else:
            leaves[str(key)] = value
    return leaves


def evaluation_metrics(evaluation: Evaluation) -> dict[str, float]:
    """All numbers of reports/evaluation.json, for example `evaluation/metrics/psnr/difference`."""
    return {
        metric_name(f"evaluation/{name}"): float(value)
        for name, value in flatten(evaluation.model_dump(), "/").items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def curves(text: str, prefix: str, timestamp: int) -> list[Metric]:
    """Points of a CSV with a `step` column: every other cell that is not empty, named `<prefix>/<column>`.

    Args:
        timestamp: of all points, ms since the epoch: the file does not say when a step was.

    Raises:
        ValueError: a cell is no number, or there is no `step` column.
    """
    points = []
    for row in csv.DictReader(io.StringIO(text)):
        if "step" not in row:
            raise ValueError(f"columns are {list(row)}, there is no step")
        step = int(float(row["step"]))
        for column, cell in row.items():
            if column != "step" and cell:
                value = float(cell)
                if math.isfinite(value):
                    points.append(Metric(metric_name(f"{prefix}/{column}"), value, timestamp, step))
    return points
