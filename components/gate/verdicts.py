"""The gate's reports as they are kept with a version: what was asked, what came out, and whether it still holds."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from components.artifacts import digests
from components.errors import BadInput
from components.registry import ledger
from components.registry.tracking import connected
from components.registry.versions import CHAMPION, GATE_TAG, IDENTITY_TAG, alias_version, production_name, resolve
from components.settings import RegisterSettings

Report = Mapping[str, Any]
"""As in reports/gate.json: challenger, champion, benchmark, passed, question, judged_ms, checks."""
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


def recorded(version: ModelVersion) -> Report | None:
    """The report that the version carries; None if it was never judged, or by a gate that asked otherwise.

    Raises:
        BadInput: what it carries is no report.
    """
    if GATE_TAG not in version.tags:
        return None
    try:
        report: dict[str, Any] = json.loads(version.tags[GATE_TAG])
        return report if {"question", "judged_ms", "passed", "checks"} <= set(report) else None
    except (ValueError, TypeError) as error:
        raise BadInput(
            f"tag {GATE_TAG} of {version.name}/{version.version} is no report ({error}): somebody changed it; "
            "delete the tag and promote again"
        ) from error


def holds(report: Report | None, question: Question, hours: float) -> bool:
    """Whether `report` answers `question` and is not older than `hours`."""
    if report is None or report["question"] != question.digest:
        return False
    return 0.0 <= now_ms() - float(report["judged_ms"]) <= hours * _HOUR_MS


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)


@dataclass(frozen=True)
class Standing:
    """Where a version stands, as the registry says.

    Attributes:
        source: `name/version`.
        report: the last of the gate's.
        champion: version of the production model that should serve; None before the first.
        is_champion: whether that is this one, or its copy.
        rejected_by: who said no after that report; empty if nobody did.
    """

    source: str
    report: Report | None
    production: str
    champion: int | None
    is_champion: bool
    rejected_by: str


def standing(settings: RegisterSettings, root: Path, reference: str) -> Standing:
    """Read it.

    Raises:
        BadInput: no such version, or a record or report was changed.
        ResumeLater: the registry is away.
    """
    name = production_name(settings.model_name)
    with connected(settings, root) as client:
        version = resolve(client, reference)
        source, report = f"{version.name}/{version.version}", recorded(version)
        champion = alias_version(client, name, CHAMPION)
        tags = client.get_model_version(name, str(champion)).tags if champion is not None else {}
        history = ledger.read(client, name)
    return Standing(
        source,
        report,
        name,
        champion,
        is_champion=champion is not None and tags.get(IDENTITY_TAG) == version.tags.get(IDENTITY_TAG, ""),
        rejected_by=rejected_by(history, source, report) if report is not None else "",
    )


def rejected_by(history: ledger.History, source: str, report: Report) -> str:
    """Who said no to this report of `source` although it passed; empty if nobody did."""
    people = [
        record.content.by
        for record in history.records
        if record.content.kind == "refuse" and record.content.source == source and same(record.content.gate, report)
    ]
    return people[-1] if people and report["passed"] else ""


def same(one: Report, other: Report | None) -> bool:
    """Whether both are of one measurement."""
    return other is not None and all(one.get(key) == other.get(key) for key in ("question", "judged_ms", "challenger"))


def as_markdown(report: Report) -> str:
    """A table of the checks for people, those that say no first."""
    rows = sorted(report["checks"], key=lambda check: check["verdict"] == "yes")
    refused = sum(check["verdict"] == "no" for check in rows)
    verdict = "passes" if report["passed"] else f"is refused: {refused} of {len(rows)} checks say no"
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(report["judged_ms"] / 1000))
    lines = [
        f"**{report['challenger']}** against {report['champion']} on `{report['benchmark']}`, {when}: {verdict}.",
        "",
        "| verdict | check | value | threshold | why |",
        "|---|---|---|---|---|",
    ]
    for check in rows:
        cells = (check["verdict"], check["name"], _short(check["value"]), _short(check["threshold"]), check["reason"])
        lines.append(f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def as_text(report: Report) -> str:
    """The checks for a terminal, one a line, in the gate's order."""
    return "\n".join(
        f"  {check['verdict']:<3} {check['name']:<30} {_short(check['value']):>12} {_short(check['threshold']):>12}  "
        f"{check['reason']}"
        for check in report["checks"]
    )


def _short(value: float | str | None) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "none"
    return "none" if value is None else str(value)[:12]
