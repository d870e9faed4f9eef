"""What the paper reports, to stand beside our own figures; the numbers are in published.json, with their source."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from components.errors import BadInput

FILE = Path(__file__).with_name("published.json")
OF_SET = {"realsr": "RealSR"}
"""The paper's name of a set, where it reports one of ours; on its own test photos nobody else can measure."""
OF_FAMILY = {"sd2_controlnet": ("C-SD2", "DP2O(SD2)"), "flux_controlnet": ("C-FLUX", "DP2O(FLUX)")}
"""Columns that base and aligned model of a family stand beside."""


@dataclass(frozen=True)
class Published:
    """One column of the paper: by our metric's name the value of Table 1, and mean and deviation of Table 2."""

    column: str
    table_1: dict[str, float]
    table_2: dict[str, tuple[float, float]]


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def source() -> str:
    """Where the numbers are from."""
    return str(_content()["source"])


def columns(set_name: str) -> list[str]:
    """Columns of the paper for a set; none where it does not report it."""
    return list(_content()["table_1"].get(OF_SET.get(set_name, ""), {}))


def heading(metric: str) -> str:
    """The paper's name of a metric, or ours where it has none."""
    return next((theirs for theirs, ours in _content()["metrics"].items() if ours == metric), metric)


def published(set_name: str, column: str) -> Published:
    """A column of the paper.

    Raises:
        BadInput: it has no such column for the set.
    """
    known = columns(set_name)
    if column not in known:
        raise BadInput(
            f"--against: the paper has no column {column!r} for {set_name}; name one of "
            f"{', '.join(known) or 'the set realsr, which it reports'}"
        )
    content = _content()
    ours = {theirs: name for theirs, name in content["metrics"].items() if name}
    first = content["table_1"][OF_SET[set_name]][column]
    second = content["table_2"].get(column, {})
    return Published(
        column,
        {ours[name]: float(value) for name, value in first.items() if name in ours},
        {ours[name]: (float(mean), float(spread)) for name, (mean, spread) in second.items()},
    )
