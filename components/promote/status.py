"""How far a version has come on its way to production, and what was decided before, as the registry says."""

from dataclasses import dataclass
from pathlib import Path

from components.artifacts.gate_report import GateReport
from components.errors import BadInput
from components.registry import ledger
from components.registry.history import History
from components.registry.reports import believed_report
from components.registry.tracking import connected
from components.registry.trust import trust_of
from components.registry.versions import (
    CHAMPION,
    IDENTITY_TAG,
    alias_version,
    production_name,
    resolve,
)
from components.settings import Settings


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


def promotion_status(settings: Settings, root: Path, version_uri: str) -> PromotionStatus:
    """Status of `name@alias` or `name/version`.

    Raises:
        BadInput: no such version, or a report was changed.
        HistoryBroken: the history is not what it was.
        ResumeLater: the registry is away.
    """
    name, trust = production_name(settings.register_.model_name), trust_of(settings.gate, root)
    with connected(settings.register_, root) as client:
        version = resolve(client, version_uri)
        source, report = f"{version.name}/{version.version}", believed_report(version, trust)
        history = ledger.read(client, name, trust)
        champion, identity = history.champion, ""
        if champion is not None:
            record = history.naming(champion)
            said = {} if record is None else record.content.lineage
            identity = said.get(IDENTITY_TAG) or client.get_model_version(name, str(champion)).tags.get(
                IDENTITY_TAG, ""
            )
    return PromotionStatus(
        source,
        report,
        name,
        champion,
        is_champion=bool(identity) and identity == version.tags.get(IDENTITY_TAG, ""),
        rejected_by=rejected_by(history, source, report) if report is not None else "",
    )


def rejected_by(history: History, source: str, report: GateReport) -> str:
    """Who said no to this report of `source` although it passed; empty if nobody did."""
    people = [
        record.content.by
        for record in history.records
        if record.content.kind == "refuse"
        and record.content.source == source
        and report.same_measurement_as(record.content.report)
    ]
    return people[-1] if people and report.passed else ""


def history(settings: Settings, root: Path, checked: bool = True) -> tuple[History, int | None]:
    """All records, and the version that has the alias now; the two differ after a crash, until the next command.

    Args:
        checked: whether signatures and anchor must be right; for whoever finds out what happened.

    Raises:
        HistoryBroken: the history is not what it was.
        ResumeLater: the registry is away.
    """
    name, trust = production_name(settings.register_.model_name), trust_of(settings.gate, root)
    with connected(settings.register_, root) as client:
        known = ledger.read(client, name, trust) if checked else ledger.stored(client, name, trust.lenient)
        return known, alias_version(client, name, CHAMPION)


def anchored_anew(settings: Settings, root: Path) -> tuple[History, str]:
    """Let the anchor say what the history is now, whatever it said; the history, and where the anchor is.

    Raises:
        BadInput: no anchor is set, or the history is broken in itself.
    """
    name, trust = production_name(settings.register_.model_name), trust_of(settings.gate, root)
    if trust.anchor is None:
        raise BadInput("gate.anchor is empty: set it to s3://bucket/prefix/ or git+<repository>#<branch>")
    with connected(settings.register_, root) as client:
        return ledger.anchor(client, name, trust, accepting=True), str(trust.anchor)
