"""Scores of production against what the champion had when it was promoted, a row a check. Pure, and fails closed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from components.settings.gate import GateSettings
from components.settings.monitor import MonitorSettings

Values = Mapping[str, Sequence[float]]
"""By metric or guard, one value a pair."""

USABLE = 0.95
"""Least part of the pairs that can be scored; the others are broken, and broken pairs are a fault of what serves."""
BOUND_QUANTILE = 0.95


@dataclass(frozen=True)
class Row:
    """One check, as the gate's rows are."""

    name: str
    value: float | None
    threshold: float
    verdict: Literal["yes", "no"]
    reason: str


@dataclass(frozen=True)
class Health:
    """All checks; `healthy` if each says yes."""

    champion: str
    rows: tuple[Row, ...]

    @property
    def healthy(self) -> bool:
        """True if there are checks and none says no."""
        return bool(self.rows) and all(row.verdict == "yes" for row in self.rows)

    @property
    def text(self) -> str:
        """One sentence: healthy, or what is not."""
        wrong = [f"{row.name} ({row.reason})" for row in self.rows if row.verdict == "no"]
        if self.healthy:
            return f"{self.champion} is healthy: {len(self.rows)} checks"
        return f"{self.champion} is not healthy: {'; '.join(wrong) or 'nothing was checked'}"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "champion": self.champion,
            "healthy": self.healthy,
            "text": self.text,
            "rows": [asdict(r) for r in self.rows],
        }


def judge(
    champion: str,
    pairs: int,
    broken: Sequence[str],
    found: Values,
    evaluated: Values,
    directions: Mapping[str, bool],
    limits: MonitorSettings,
    gate: GateSettings,
) -> Health:
    """Every check of what was found.

    Args:
        pairs: looked at; `broken` says of each that cannot be scored why.
        found: values of NR metrics, `lr_consistency` and guards.
        evaluated: values of the NR metrics when the version was evaluated, on the test split.
        directions: of the NR metrics, whether higher is better; all of them are checked.
    """
    usable = pairs - len(broken)
    part = usable / pairs if pairs else 0.0
    rows = [
        _row(
            "pairs",
            float(usable),
            float(limits.min_pairs),
            usable >= limits.min_pairs,
            f"{usable} pairs could be scored",
        ),
        _row("usable", part, USABLE, part >= USABLE, f"{len(broken)} of {pairs} cannot be scored{_first(broken)}"),
    ]
    for name, higher in directions.items():
        rows.append(_compared(name, found.get(name, []), evaluated.get(name, []), higher, limits.drop))
    consistency = gate.fidelity.get("lr_consistency")
    if consistency is not None:
        mean = _mean(found.get("lr_consistency", []))
        good = mean is not None and mean >= consistency.floor
        rows.append(_row("lr_consistency", mean, consistency.floor, good, "mean, dB; the gate's floor"))
    for name, guard in gate.guards.items():
        values = np.asarray(found.get(name, []), np.float64)
        bound = float(np.quantile(values, BOUND_QUANTILE)) if len(values) and np.isfinite(values).all() else None
        good = bound is not None and bound <= guard.bound
        rows.append(_row(f"guard {name}", bound, guard.bound, good, "95th percentile; the gate's bound"))
    return Health(champion, tuple(rows))


def _compared(name: str, found: Sequence[float], evaluated: Sequence[float], higher: bool, drop: float) -> Row:
    now, then = _mean(found), _mean(evaluated)
    spread = float(np.std(np.asarray(evaluated, np.float64))) if then is not None else 0.0
    if now is None or then is None or not spread > 0:
        what = "production has no whole scores" if now is None else "there is no usable record of the promotion"
        return _row(name, None, -drop, False, f"{what}: cannot be compared")
    change = (now - then) / spread * (1 if higher else -1)
    reason = f"mean {now:.4g}, {then:.4g} when it was evaluated; in standard deviations of then, + is better"
    return _row(name, change, -drop, change >= -drop, reason)


def _mean(values: Sequence[float]) -> float | None:
    array = np.asarray(values, np.float64)
    return float(array.mean()) if len(array) and np.isfinite(array).all() else None


def _row(name: str, value: float | None, threshold: float, good: bool, reason: str) -> Row:
    finite = value is not None and math.isfinite(value)
    text = reason if finite else f"{reason}: missing or not a number" if value is not None else f"missing; {reason}"
    return Row(name, value if finite else None, threshold, "yes" if good and finite else "no", text)


def _first(broken: Sequence[str]) -> str:
    return f", first {broken[0]}" if broken else ""
