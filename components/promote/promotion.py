"""Promote, reject, roll back, and tell what happened."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mlflow
from mlflow.entities.model_registry import ModelVersion

from components.artifacts import digests
from components.artifacts.publish import write_json
from components.backbones.loading import located
from components.errors import BadInput
from components.gate import benchmark
from components.gate.benchmark import FrozenSet
from components.gate.evidence import Bench
from components.gate.gate import REVISION, Rewards, judge, passed
from components.gate.verdicts import Question, Report, holds, now_ms, recorded, rejected_by, same
from components.metrics.suite import suite_digests
from components.process import resolve_device
from components.promote import notify
from components.promote.transaction import Reached, commit, into_production, nowhere, settle
from components.registry import ledger
from components.registry.ledger import Content, History, Record
from components.registry.models import load_upscaler
from components.registry.tracking import connected
from components.registry.versions import (
    CANDIDATE,
    CHALLENGER,
    CHAMPION,
    GATE_TAG,
    IDENTITY_TAG,
    PARENT_TAG,
    VERDICT_TAG,
    alias_version,
    production_name,
    resolve,
)
from components.settings import Settings
from components.upscale.upscaler import Upscaler

logger = logging.getLogger("dp2o.promote")

REPORT = Path("reports/gate.json")

Decision = Literal["promoted", "already champion", "refused", "awaits approval", "rejected"]
Policy = Literal["manual", "automatic"]


@dataclass(frozen=True)
class Outcome:
    """What a promotion came to; `report` is the gate's, as in reports/gate.json, None where nothing was judged."""

    decision: Decision
    model: str
    version: int
    text: str
    report: Report | None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "decision": self.decision,
            "model": self.model,
            "version": self.version,
            "text": self.text,
            "report": self.report,
        }


@dataclass(frozen=True)
class Approval:
    """Who says yes, why, and to which report: the first digits of its `question`, or empty for whatever holds now."""

    by: str
    reason: str = ""
    report: str = ""

    def is_of(self, report: Report) -> bool:
        """Whether this report is what was approved."""
        return str(report["question"]).startswith(self.report)


def promote(
    settings: Settings,
    root: Path,
    reference: str | None = None,
    approval: Approval | None = None,
    policy: Policy | None = None,
    new_benchmark: bool = False,
    again: bool = False,
    reached: Reached = nowhere,
) -> Outcome:
    """Gate a version against the champion and, if all checks say yes and policy allows, make it the champion.

    A report of the same versions, benchmark set, metrics and limits that is young enough is not made again: an approval
    that comes a day later costs seconds. A person's no to a report holds as long as the report does, against the policy
    `automatic` as well.

    Args:
        reference: `name@alias` or `name/version`; default the candidate.
        approval: without one the policy `manual` stops after the gate, with alias `challenger` set.
        policy: default the settings'.
        new_benchmark: freeze a new set from the present test split first, and judge on it.
        again: measure, even if there is a report that holds.
        reached: told of every point on the way.

    Raises:
        BadInput: no such version, it is not what its tags say, or the benchmark set cannot be read.
        ResumeLater: another promotion came first, or the registry is away.
    """
    name = production_name(settings.register_.model_name)
    with connected(settings.register_, root) as client:
        history = settle(client, name)
        version = resolve(client, reference or f"{settings.register_.model_name}@{CANDIDATE}")
        if IDENTITY_TAG not in version.tags:
            raise BadInput(f"{version.name}/{version.version} was not registered by `dp2o register`: it has no lineage")
        champion = None if history.champion is None else client.get_model_version(name, str(history.champion))
        if champion is not None and champion.tags.get(IDENTITY_TAG) == version.tags[IDENTITY_TAG]:
            _drop_challenger(client, version)
            _leave_again(settings, root, champion)
            number = int(champion.version)
            return Outcome("already champion", name, number, f"{name}/{number} is the champion already", None)

        report = _judged(settings, root, champion, version, new_benchmark, again)
        write_json(root / REPORT, report)
        parent = champion.version if champion is not None else f"base {version.tags['dp2o.base_model'][:12]}"
        for key, value in (
            (PARENT_TAG, str(parent)),
            (VERDICT_TAG, "passed" if report["passed"] else "refused"),
            (GATE_TAG, json.dumps(report, allow_nan=False)),
        ):
            client.set_model_version_tag(version.name, version.version, key, value)
        reached("judged")
        if not report["passed"]:
            return _refused(settings, client, name, history, version, report, reached)
        source = f"{version.name}/{version.version}"
        if approval is None and (who := rejected_by(history, source, report)):
            text = f"{source} was rejected by {who}: approve it after all with --approved-by, or judge it --again"
            return Outcome("rejected", version.name, int(version.version), text, report)
        client.set_registered_model_alias(version.name, CHALLENGER, version.version)
        reached("challenger set")
        automatic = (policy or settings.gate.policy) == "automatic"
        if not automatic and (approval is None or not approval.is_of(report)):
            return _waits(settings, version, report, approval)
        version = client.get_model_version(version.name, version.version)  # with its new tags
        number = into_production(client, version, name)
        reached("copied")
        by, why = (approval.by, approval.reason) if approval else ("policy", "")
        reason = f"{source} passed {len(report['checks'])} checks on {report['benchmark']}{_said(why)}"
        parent_number = history.champion
        content = Content(
            "promote", name, number, source, parent_number, *ledger.following(history), by, reason, report
        )
        record = commit(client, name, content, reached)
        _drop_challenger(client, version)
        reached("finished")
        text = f"{name}/{number} is the champion (record {record}): {reason}"
        _tell(settings, text, "good", version=f"{name}/{number}", before=report["champion"], by=by)
        return Outcome("promoted", name, number, text, report)


def freeze(settings: Settings, root: Path) -> tuple[str, bool]:
    """Name of the benchmark set that models are judged on, and whether it is new: a first one is frozen where none is.

    The gate does that by itself. Apart from it, what all later models are judged on can be kept before one is promoted.

    Raises:
        BadInput: there is no test split, or the set cannot be read.
    """
    present = _present_set(settings, root, new=False)
    if present is not None:
        return present.name, False
    return _frozen(settings, root, Bench.load(settings, root, resolve_device(settings.run.device))).name, True


def reject(settings: Settings, root: Path, by: str, reason: str, reference: str | None = None) -> Outcome:
    """Write down that a person does not want a version that passed the gate; it loses the alias challenger.

    Args:
        reference: default the challenger.

    Raises:
        BadInput: no such version, or it never passed the gate.
        ResumeLater: the registry is away.
    """
    name = production_name(settings.register_.model_name)
    with connected(settings.register_, root) as client:
        history = settle(client, name)
        version = resolve(client, reference or f"{settings.register_.model_name}@{CHALLENGER}")
        report = recorded(version)
        source = f"{version.name}/{version.version}"
        if report is None or not report["passed"]:
            raise BadInput(f"{source} has not passed the gate: there is nothing to reject")
        _refuse(client, name, history, version, report, by, f"rejected by a person{_said(reason)}")
        text = f"{source} is rejected by {by}{_said(reason)}"
        _tell(settings, text, "warning", version=source, champion=_serving(name, history.champion), by=by)
        return Outcome("rejected", version.name, int(version.version), text, report)


def _unfinished_rollback(client: mlflow.MlflowClient, name: str) -> Record | None:
    """The last record that counts, if it is a rollback whose alias was not moved yet."""
    known = ledger.read(client, name)
    head = known.head
    if head is None or head.content.kind != "rollback" or alias_version(client, name, CHAMPION) == known.champion:
        return None
    return head


def rollback(
    settings: Settings, root: Path, by: str, to: int | None = None, reason: str = "", reached: Reached = nowhere
) -> Outcome:
    """Give the alias back to the champion before this one, or to the earlier champion `to`; moves nothing else.

    Raises:
        BadInput: there is no such earlier champion.
        ResumeLater: another promotion or rollback came first, or the registry is away.
    """
    name = production_name(settings.register_.model_name)
    with connected(settings.register_, root) as client:
        cut_off = _unfinished_rollback(client, name)
        history = settle(client, name)
        if cut_off is not None and to in (None, cut_off.content.version):
            # Going back once more is what nobody asked for: the same command, run again after a crash, ends here.
            target = cut_off.content.version
            text = f"{name}/{target} is the champion again: record {cut_off.number}, which was cut off, is finished"
            return Outcome("promoted", name, target, text, None)
        earlier = list(history.champions[:-1])
        present = history.champion
        if present is None or not earlier:
            raise BadInput(f"{name} has no earlier champion to go back to; `dp2o history` shows what there was")
        target = earlier[-1] if to is None else to
        if target not in earlier:
            raise BadInput(f"{name}/{target} is no earlier champion; those are {', '.join(map(str, earlier))}")
        why = f"from {name}/{present} back to {name}/{target}{_said(reason)}"
        follows = ledger.following(history)
        content = Content("rollback", name, target, f"{name}/{target}", present, *follows, by, why, {})
        record = commit(client, name, content, reached)
        text = f"{name}/{target} is the champion again (record {record}): {why}"
        _tell(settings, text, "warning", version=f"{name}/{target}", before=f"{name}/{present}", by=by)
        return Outcome("promoted", name, target, text, None)


def history(settings: Settings, root: Path) -> tuple[History, int | None]:
    """All records, and the version that has the alias now; the two differ after a crash, until the next command.

    Raises:
        BadInput: a record was changed after it was written.
        ResumeLater: the registry is away.
    """
    name = production_name(settings.register_.model_name)
    with connected(settings.register_, root) as client:
        return ledger.read(client, name), alias_version(client, name, CHAMPION)


def _judged(
    settings: Settings,
    root: Path,
    champion: ModelVersion | None,
    version: ModelVersion,
    new_benchmark: bool,
    again: bool,
) -> Report:
    """The report that answers the question: the one that the version carries if it does, else a new one."""
    device = settings.run.device
    challenger = _verified(settings, root, version, device)  # first: what is promoted must be what was judged
    bench: Bench | None = None
    frozen = _present_set(settings, root, new_benchmark)
    if frozen is None:
        bench = Bench.load(settings, root, resolve_device(device))
        frozen = _frozen(settings, root, bench)
    question = _question(settings, champion, version, frozen)
    known = recorded(version)
    if known is not None and not again and holds(known, question, settings.gate.valid_hours):
        logger.info("the report on %s/%s still holds: nothing is measured", version.name, version.version)
        return known
    bench = bench or Bench.load(settings, root, resolve_device(device))
    if champion is None:
        present = _base(settings, root, version, device)
    else:
        present = _verified(settings, root, champion, device)
    costs = bench.costs(frozen, [present, challenger])
    before, after = (
        bench.evidence(frozen, model, cost) for model, cost in zip((present, challenger), costs, strict=True)
    )
    controls: dict[str, Rewards] = {
        name: bench.control(frozen, present, name, factor) for name, factor in settings.gate.controls.items()
    }
    checks = judge(before, after, frozen.expected(), settings.gate, controls)
    return {
        "challenger": f"{version.name}/{version.version}",
        "champion": f"{champion.name}/{champion.version}" if champion is not None else "base model",
        "benchmark": frozen.name,
        "passed": passed(checks),
        "question": question.digest,
        "judged_ms": now_ms(),
        "checks": [check.as_json() for check in checks],
    }


def _question(settings: Settings, champion: ModelVersion | None, version: ModelVersion, frozen: FrozenSet) -> Question:
    limits = settings.gate.model_dump(mode="json", exclude={"policy", "benchmark", "valid_hours"})
    return Question(
        _weights(version.tags),
        version.tags.get("dp2o.base_model", "") if champion is None else _weights(champion.tags),
        frozen.found,
        digests.of_json(suite_digests(benchmark.measured_metrics(settings))),
        digests.of_json([limits, REVISION]),
    )


def _weights(tags: Mapping[str, str]) -> str:
    return digests.of_json([tags.get(IDENTITY_TAG, ""), tags.get("dp2o.model", "")])


def _present_set(settings: Settings, root: Path, new: bool) -> FrozenSet | None:
    """The set that settings name, else the newest; None where there is none, or a new one is asked for."""
    if new and settings.gate.benchmark:
        raise BadInput(f'gate.benchmark names {settings.gate.benchmark}: set it to "" to judge on a new set')
    have = benchmark.names(root)
    if new or not (settings.gate.benchmark or have):
        return None
    return benchmark.load(root, settings.gate.benchmark or have[-1])


def _frozen(settings: Settings, root: Path, bench: Bench) -> FrozenSet:
    """A new set, with the normaliser of the settings' base model."""
    frozen = bench.freeze(_base_model(settings, root, settings.run.device))
    logger.info("benchmark set %s frozen from the test split; keep %s", frozen.name, root / benchmark.FOLDER)
    return frozen


def _base_model(settings: Settings, root: Path, device: str) -> Upscaler:
    backbone = located(settings.backbone, root)
    return Upscaler.load(backbone.path, backbone, resolve_device(device))


def _base(settings: Settings, root: Path, version: ModelVersion, device: str) -> Upscaler:
    """The base model that `version` was trained from: what a first model has to beat."""
    base = _base_model(settings, root, device)
    wanted = version.tags.get("dp2o.base_model", "")
    if base.digest != wanted:
        raise BadInput(
            f"{version.name}/{version.version} was trained from weights {wanted[:12]}, backbone.path holds "
            f"{base.digest[:12]}: there is no champion yet, and the first is compared with its own base model"
        )
    return base


def _leave_again(settings: Settings, root: Path, champion: ModelVersion) -> None:
    """The files of the promotion that made the champion: it may have died before anybody kept them.

    A first set is frozen again if the project has none and still has the base model that it was frozen with: it is the
    same set then, by its digest.
    """
    report = recorded(champion)
    if report is None:
        return
    write_json(root / REPORT, report)
    if benchmark.names(root):
        return
    try:
        base = _base_model(settings, root, settings.run.device)
        if base.digest != champion.tags.get("dp2o.base_model"):
            raise BadInput(f"backbone.path holds {base.digest[:12]}, not the base that the champion was trained from")
        frozen = Bench.load(settings, root, resolve_device(settings.run.device)).freeze(base)
    except BadInput as error:  # nothing that a champion that serves has to wait for
        logger.warning("there is no benchmark set, and %s is not made again: %s", report["benchmark"], error)
        return
    if frozen.name != report["benchmark"]:
        logger.warning("benchmark set %s is lost; %s is frozen anew, and differs", report["benchmark"], frozen.name)


def _verified(settings: Settings, root: Path, version: ModelVersion, device: str) -> Upscaler:
    """The version's model, if it is the one that was evaluated."""
    reference = f"{version.name}/{version.version}"
    model = load_upscaler(settings.register_, root, reference, {}, device)
    wanted = version.tags.get("dp2o.model", "")
    if model.digest != wanted:
        raise BadInput(
            f"{reference} holds weights {model.digest[:12]}, it was registered with {wanted[:12]}: its files were "
            "changed; register it again"
        )
    return model


def _refused(
    settings: Settings,
    client: mlflow.MlflowClient,
    name: str,
    history: History,
    version: ModelVersion,
    report: Report,
    reached: Reached,
) -> Outcome:
    source = f"{version.name}/{version.version}"
    failed = [check for check in report["checks"] if check["verdict"] == "no"]
    first = f"{failed[0]['name']}: {failed[0]['reason']}"
    reason = f"{len(failed)} of {len(report['checks'])} checks said no, first {first}"
    text = f"{source} is refused: {reason}"
    if _refuse(client, name, history, version, report, "gate", reason):
        rows = ", ".join(check["name"] for check in failed)
        _tell(settings, text, "danger", version=source, champion=report["champion"], rows=rows)
    reached("refused")
    return Outcome("refused", version.name, int(version.version), text, report)


def _refuse(
    client: mlflow.MlflowClient,
    name: str,
    history: History,
    version: ModelVersion,
    report: Report,
    by: str,
    reason: str,
) -> bool:
    """Record it, once for a report, and take the alias challenger away; whether the record is new."""
    source = f"{version.name}/{version.version}"
    known = any(
        record.content.kind == "refuse"
        and (record.content.source, record.content.by) == (source, by)
        and same(record.content.gate, report)
        for record in history.records
    )
    if not known:
        number, follows = int(version.version), ledger.following(history)
        content = Content("refuse", version.name, number, source, history.champion, *follows, by, reason, report)
        ledger.append(client, name, content)
    _drop_challenger(client, version)
    return not known


def _waits(settings: Settings, version: ModelVersion, report: Report, approval: Approval | None) -> Outcome:
    source = f"{version.name}/{version.version}"
    text = f"{source} passed the gate and waits: approve with `dp2o promote --approved-by NAME`"
    if approval is not None:
        text = (
            f"{approval.by} approved report {approval.report[:12]}, which no longer holds: champion, benchmark, "
            f"metrics or limits have changed. {source} was judged anew and passes: look at that report and approve it"
        )
    fields = {"version": source, "champion": report["champion"], "report": str(report["question"])[:12]}
    _tell(settings, text, "warning", **fields)
    return Outcome("awaits approval", version.name, int(version.version), text, report)


def _tell(settings: Settings, text: str, mood: notify.Mood, **fields: str) -> None:
    notify.tell(settings.register_.webhook, text, mood, fields)


def _said(reason: str) -> str:
    return f": {reason}" if reason else ""


def _serving(name: str, champion: int | None) -> str:
    return "none" if champion is None else f"{name}/{champion}"


def _drop_challenger(client: mlflow.MlflowClient, version: ModelVersion) -> None:
    if alias_version(client, version.name, CHALLENGER) == int(version.version):
        client.delete_registered_model_alias(version.name, CHALLENGER)
