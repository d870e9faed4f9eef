"""A gate's report: what it answers, whether it still holds, and how people read it. Pure, but for the clock."""

import math
import time
from dataclasses import asdict, dataclass

from components.artifacts.gate_report import GateReport
from components.storage import digests

_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Question:
    """Everything that determines the gate's answer, by digests: equal questions need no second measurement.

    Attributes:
        challenger: identity and weights.
        champion: the same of the champion, or the base model's weights.
        benchmark: of the images and figures that lie in the set's folder now.
        metrics: of all metrics.
        limits: of the gate's thresholds and arithmetic.
    """

    challenger: str
    champion: str
    benchmark: str
    metrics: str
    limits: str

    @property
    def digest(self) -> str:
        """Hex sha256."""
        return digests.of_json(asdict(self))


def holds(report: GateReport | None, question: Question, hours: float) -> bool:
    """Whether `report` answers `question` and is not older than `hours`."""
    if report is None or report.question != question.digest:
        return False
    return 0.0 <= now_ms() - report.judged_ms <= hours * _HOUR_MS


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)


def as_markdown(report: GateReport) -> str:
    """A table of the checks for people, those that say no first."""
    rows = sorted(report.checks, key=lambda check: check.verdict == "yes")
    verdict = "passes" if report.passed else f"is refused: {len(report.refusals)} of {len(rows)} checks say no"
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(report.judged_ms / 1000))
    lines = [
        f"**{report.challenger}** against {report.champion} on `{report.benchmark}`, {when}: {verdict}.",
        "",
        "| verdict | check | value | threshold | why |",
        "|---|---|---|---|---|",
    ]
    for check in rows:
        cells = (check.verdict, check.name, _short(check.value), _short(check.threshold), check.reason)
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def as_text(report: GateReport) -> str:
    """The checks for a terminal, one a line, in the gate's order."""
    return "\n".join(
        f"  {check.verdict:<3} {check.name:<30} {_short(check.value):>12} {_short(check.threshold):>12}  {check.reason}"
        for check in report.checks
    )


def _short(value: float | str | None) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "none"
    return "none" if value is None else str(value)[:12]
