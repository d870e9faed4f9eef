"""A no, the gate's or a person's: recorded once, and the alias challenger goes."""

from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion

from components.artifacts.gate_report import GateReport
from components.errors import BadInput
from components.promote.outcome import Outcome, announce, champion_name, reason_clause, watched
from components.promote.transaction import reconcile
from components.registry import ledger
from components.registry.history import Content, History
from components.registry.reports import believed_report
from components.registry.tracking import connected
from components.registry.trust import Trust, trust_of
from components.registry.versions import CHALLENGER, alias_version, production_name, resolve
from components.settings import Settings


def reject(settings: Settings, root: Path, by: str, reason: str, version_uri: str | None = None) -> Outcome:
    """Write down that a person does not want a version that passed the gate; it loses the alias challenger.

    Args:
        version_uri: default the challenger.

    Raises:
        BadInput: no such version, or it never passed the gate.
        ResumeLater: the registry is away.
    """
    name, trust = production_name(settings.register_.model_name), trust_of(settings.gate, root)
    trust.key()
    with connected(settings.register_, root) as client, watched(settings, name):
        history = reconcile(client, name, trust)
        version = resolve(client, version_uri or f"{settings.register_.model_name}@{CHALLENGER}")
        report = believed_report(version, trust)
        source = f"{version.name}/{version.version}"
        if report is None or not report.passed:
            raise BadInput(f"{source} has not passed the gate: there is nothing to reject")
        record_refusal(
            client, name, history, trust, version, report, by, f"rejected by a person{reason_clause(reason)}"
        )
        text = f"{source} is rejected by {by}{reason_clause(reason)}"
        announce(settings, text, "warning", version=source, champion=champion_name(name, history.champion), by=by)
        return Outcome("rejected", version.name, int(version.version), text, report)


def refuse(
    settings: Settings,
    client: mlflow.MlflowClient,
    name: str,
    history: History,
    trust: Trust,
    version: ModelVersion,
    report: GateReport,
) -> Outcome:
    """Write down that the gate said no to `version`, and say so, once for a report."""
    source = f"{version.name}/{version.version}"
    first = f"{report.refusals[0].name}: {report.refusals[0].reason}"
    reason = f"{len(report.refusals)} of {len(report.checks)} checks said no, first {first}"
    text = f"{source} is refused: {reason}"
    if record_refusal(client, name, history, trust, version, report, "gate", reason):
        rows = ", ".join(check.name for check in report.refusals)
        announce(settings, text, "danger", version=source, champion=report.champion, rows=rows)
    return Outcome("refused", version.name, int(version.version), text, report)


def record_refusal(
    client: mlflow.MlflowClient,
    name: str,
    history: History,
    trust: Trust,
    version: ModelVersion,
    report: GateReport,
    by: str,
    reason: str,
) -> bool:
    """Record it, once for a report, and take the alias challenger away; whether the record is new."""
    source = f"{version.name}/{version.version}"
    known = any(
        record.content.kind == "refuse"
        and (record.content.source, record.content.by) == (source, by)
        and report.same_measurement_as(record.content.report)
        for record in history.records
    )
    if not known:
        number, gate = int(version.version), report.model_dump(mode="json")
        content = Content("refuse", version.name, number, source, history.champion, by, reason, gate)
        ledger.append(client, name, content, history, trust)
        ledger.anchor(client, name, trust)
    drop_challenger(client, version)
    return not known


def drop_challenger(client: mlflow.MlflowClient, version: ModelVersion) -> None:
    """Take the alias challenger from `version`, if it has it."""
    if alias_version(client, version.name, CHALLENGER) == int(version.version):
        client.delete_registered_model_alias(version.name, CHALLENGER)
