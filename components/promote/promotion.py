"""A version through the gate and, where policy or a person says yes, into production."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import mlflow
from mlflow.entities.model_registry import ModelVersion

from components.artifacts import paths
from components.artifacts.gate_report import GateReport
from components.errors import BadInput
from components.failpoints import Failpoint, no_failpoint
from components.gate.judging import Candidate, freeze_again, judged
from components.promote.outcome import Outcome, announce, reason_clause, signed_by, watched
from components.promote.production import copy_to_production, lineage, prepared
from components.promote.rejection import drop_challenger, refuse
from components.promote.status import rejected_by
from components.promote.transaction import commit, reconcile
from components.registry.fetch import Found, in_history, model_of
from components.registry.history import Content, History
from components.registry.reports import seal_report
from components.registry.tracking import connected
from components.registry.trust import Trust, trust_of
from components.registry.versions import (
    BASE_MODEL_TAG,
    CANDIDATE,
    CHALLENGER,
    GATE_ENVELOPE_TAG,
    GATE_TAG,
    IDENTITY_TAG,
    PARENT_TAG,
    VERDICT_TAG,
    gate_report,
    production_name,
    resolve,
)
from components.settings import Settings
from components.storage.publish import write_json

Policy = Literal["manual", "automatic"]


@dataclass(frozen=True)
class Approval:
    """Who says yes, why, and to which report: the first digits of its `question`, or empty for whatever holds now."""

    by: str
    reason: str = ""
    report: str = ""

    def is_of(self, report: GateReport) -> bool:
        """Whether this report is what was approved."""
        return report.question.startswith(self.report)


def promote(
    settings: Settings,
    root: Path,
    version_uri: str | None = None,
    approval: Approval | None = None,
    policy: Policy | None = None,
    new_benchmark: bool = False,
    again: bool = False,
    failpoint: Failpoint = no_failpoint,
) -> Outcome:
    """Gate a version against the champion and, if all checks say yes and policy allows, make it the champion.

    A report of the same versions, benchmark set, metrics and limits that is young enough is not made again: an approval
    that comes a day later costs seconds. A person's no to a report holds as long as the report does, against the policy
    `automatic` as well.

    Args:
        version_uri: `name@alias` or `name/version`; default the candidate.
        approval: without one the policy `manual` stops after the gate, with alias `challenger` set.
        policy: default the settings'.
        new_benchmark: freeze a new set from the present test split first, and judge on it.
        again: measure, even if there is a report that holds.
        failpoint: called with the name of every point on the way.

    Raises:
        BadInput: no such version, it is not what its tags say, the benchmark set cannot be read, or there is no key to
            sign with.
        HistoryBroken: the history is not what it was; people are told.
        ResumeLater: another promotion came first, or the registry is away.
    """
    name, trust = production_name(settings.register_.model_name), trust_of(settings.gate, root)
    trust.key()  # before an hour of measuring
    with connected(settings.register_, root) as client, watched(settings, name):
        history = reconcile(client, name, trust)
        version = _registered(client, version_uri or f"{settings.register_.model_name}@{CANDIDATE}")
        source = f"{version.name}/{version.version}"
        champion = _champion(client, settings, trust, name, history)
        if champion is not None and champion.tag(IDENTITY_TAG) == version.tags[IDENTITY_TAG]:
            drop_challenger(client, version)
            return _champion_already(settings, root, champion)
        found = Found(version, None)
        candidate = Candidate(found, model_of(client, found))
        report = judged(settings, root, client, trust, champion, candidate, new_benchmark, again)
        write_json(root / paths.GATE_REPORT, report.model_dump(mode="json"))
        _tag(client, trust, version, champion, report)
        failpoint("judged")
        if not report.passed:
            outcome = refuse(settings, client, name, history, trust, version, report)
            failpoint("refused")
            return outcome
        if approval is None and (who := rejected_by(history, source, report)):
            text = f"{source} was rejected by {who}: approve it after all with --approved-by, or judge it --again"
            return Outcome("rejected", version.name, int(version.version), text, report)
        client.set_registered_model_alias(version.name, CHALLENGER, version.version)
        failpoint("challenger set")
        automatic = (policy or settings.gate.policy) == "automatic"
        if not automatic and (approval is None or not approval.is_of(report)):
            return _await_approval(settings, version, report, approval)
        return _promote_version((settings, root), client, history, trust, candidate, report, approval, failpoint)


def _registered(client: mlflow.MlflowClient, version_uri: str) -> ModelVersion:
    """The version, if `register` made it.

    Raises:
        BadInput: there is none, or it has no lineage.
    """
    version = resolve(client, version_uri)
    if IDENTITY_TAG not in version.tags:
        raise BadInput(f"{version.name}/{version.version} was not registered by `dp2o register`: it has no lineage")
    return version


def _champion(
    client: mlflow.MlflowClient, settings: Settings, trust: Trust, name: str, history: History
) -> Found | None:
    """The champion of the history with its record; None before the first."""
    if history.champion is None:
        return None
    return in_history(settings.register_, trust, client.get_model_version(name, str(history.champion)), history)


def _tag(
    client: mlflow.MlflowClient, trust: Trust, version: ModelVersion, champion: Found | None, report: GateReport
) -> None:
    """Leave with the version what it was judged against, and the report."""
    parent = champion.version.version if champion is not None else f"base {version.tags[BASE_MODEL_TAG][:12]}"
    tags = {PARENT_TAG: str(parent), VERDICT_TAG: "passed" if report.passed else "refused", GATE_TAG: report.as_text()}
    if (key := trust.key()) is not None:
        tags[GATE_ENVELOPE_TAG] = seal_report(report, key[1])
    for tag, value in tags.items():
        client.set_model_version_tag(version.name, version.version, tag, value)


def _promote_version(
    project: tuple[Settings, Path],
    client: mlflow.MlflowClient,
    history: History,
    trust: Trust,
    candidate: Candidate,
    report: GateReport,
    approval: Approval | None,
    failpoint: Failpoint,
) -> Outcome:
    """Copy, record, move the alias."""
    settings, root = project
    name, source = production_name(settings.register_.model_name), candidate.found.name
    version = client.get_model_version(candidate.version.name, candidate.version.version)  # with its new tags
    if lineage(version) != lineage(candidate.version):
        raise BadInput(
            f"{source} was said to be made of something else after it was judged: nothing was promoted. Find out who "
            "writes its tags, and promote it again"
        )
    made = prepared(client, version, candidate.copy.package)
    number, run = copy_to_production(client, (settings.register_, root), version, name, made)
    failpoint("copied")
    by, why = (approval.by, approval.reason) if approval else ("policy", "")
    reason = f"{source} passed {len(report.checks)} checks on {report.benchmark}{reason_clause(why)}"
    content = Content(
        kind="promote",
        model=name,
        version=number,
        source=source,
        parent=history.champion,
        by=by,
        reason=reason,
        gate=report.model_dump(mode="json"),
        files=made.files,
        lineage=lineage(version),
        inputs=made.inputs,
        run=run,
    )
    record = commit(client, name, content, history, trust, failpoint)
    drop_challenger(client, version)
    failpoint("finished")
    text = f"{name}/{number} is the champion (record {record}, {signed_by(trust, by)}): {reason}"
    announce(settings, text, "good", version=f"{name}/{number}", before=report.champion, by=by)
    return Outcome("promoted", name, number, text, report)


def _champion_already(settings: Settings, root: Path, champion: Found) -> Outcome:
    """Publish the files of the champion's promotion again: it may have died before anybody kept them."""
    report = champion.record.content.report if champion.record is not None else gate_report(champion.version)
    if report is not None:
        write_json(root / paths.GATE_REPORT, report.model_dump(mode="json"))
        freeze_again(settings, root, champion, report.benchmark)
    number, text = int(champion.version.version), f"{champion.name} is the champion already"
    return Outcome("already champion", champion.version.name, number, text, None)


def _await_approval(
    settings: Settings, version: ModelVersion, report: GateReport, approval: Approval | None
) -> Outcome:
    source = f"{version.name}/{version.version}"
    text = f"{source} passed the gate and waits: approve with `dp2o promote --approved-by NAME`"
    if approval is not None:
        text = (
            f"{approval.by} approved report {approval.report[:12]}, which no longer holds: champion, benchmark, "
            f"metrics or limits have changed. {source} was judged anew and passes: look at that report and approve it"
        )
    announce(settings, text, "warning", version=source, champion=report.champion, report=report.question[:12])
    return Outcome("awaits approval", version.name, int(version.version), text, report)
