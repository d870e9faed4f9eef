"""How far a version has come on its way to production, and what was decided before, as the registry says."""

from dataclasses import dataclass
from pathlib import Path

from components.artifacts.gate_report import GateReport
from components.registry import ledger
from components.registry.tracking import connected
from components.registry.versions import (
    CHAMPION,
    IDENTITY_TAG,
    alias_version,
    gate_report,
    production_name,
    resolve,
)
from components.settings import RegisterSettings


@dataclass(frozen=True)
class PromotionStatus:
    """Where a version is on its way.

    Attributes:
        source: `name/version`.
        report: the gate's last one about it.
        production: name of the production model.
        champion: version of the production model that should serve; None before the first.
        is_champion: whether that is this one, or its copy.
        rejected_by: who said no after that report; empty if nobody did.
    """

    source: str
    report: GateReport | None
    production: str
    champion: int | None
    is_champion: bool
    rejected_by: str


def promotion_status(settings: RegisterSettings, root: Path, version_uri: str) -> PromotionStatus:
    """Status of `name@alias` or `name/version`.

    Raises:
        BadInput: no such version, or a record or report was changed.
        ResumeLater: the registry is away.
    """
    name = production_name(settings.model_name)
    with connected(settings, root) as client:
        version = resolve(client, version_uri)
        source, report = f"{version.name}/{version.version}", gate_report(version)
        champion = alias_version(client, name, CHAMPION)
        tags = client.get_model_version(name, str(champion)).tags if champion is not None else {}
        history = ledger.read(client, name)
    return PromotionStatus(
        source,
        report,
        name,
        champion,
        is_champion=champion is not None and tags.get(IDENTITY_TAG) == version.tags.get(IDENTITY_TAG, ""),
        rejected_by=rejected_by(history, source, report) if report is not None else "",
    )


def rejected_by(history: ledger.History, source: str, report: GateReport) -> str:
    """Who said no to this report of `source` although it passed; empty if nobody did."""
    people = [
        record.content.by
        for record in history.records
        if record.content.kind == "refuse"
        and record.content.source == source
        and report.same_measurement_as(record.content.report)
    ]
    return people[-1] if people and report.passed else ""


def history(settings: RegisterSettings, root: Path) -> tuple[ledger.History, int | None]:
    """All records, and the version that has the alias now; the two differ after a crash, until the next command.

    Raises:
        BadInput: a record was changed after it was written.
        ResumeLater: the registry is away.
    """
    name = production_name(settings.model_name)
    with connected(settings, root) as client:
        return ledger.read(client, name), alias_version(client, name, CHAMPION)
