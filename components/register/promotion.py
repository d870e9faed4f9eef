"""Promote, roll back, and tell what happened."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mlflow
from mlflow.entities.model_registry import ModelVersion

from components.artifacts.publish import write_json
from components.backbones.registry import located
from components.entry import resolve_device
from components.errors import BadInput
from components.register import benchmark, ledger
from components.register.benchmark import FrozenSet
from components.register.evidence import Bench
from components.register.gate import Check, judge, passed
from components.register.ledger import Content, History
from components.register.registry import CANDIDATE, IDENTITY_TAG, load_upscaler, resolve
from components.register.tracking import connected
from components.register.transaction import (
    CHAMPION,
    Reached,
    alias_version,
    commit,
    into_production,
    nowhere,
    settle,
)
from components.settings import Settings
from components.upscale.upscaler import Upscaler

logger = logging.getLogger("dp2o.register")

CHALLENGER = "challenger"
GATE_TAG, VERDICT_TAG, PARENT_TAG = "dp2o.gate", "dp2o.gate_verdict", "dp2o.parent"
DEVELOPMENT = "-dev"
REPORT = Path("reports/gate.json")

Decision = Literal["promoted", "already champion", "refused", "awaits approval"]


@dataclass(frozen=True)
class Outcome:
    """What a promotion came to; `report` is the gate's, as in reports/gate.json, None where nothing was judged."""

    decision: Decision
    model: str
    version: int
    text: str
    report: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "decision": self.decision,
            "model": self.model,
            "version": self.version,
            "text": self.text,
            "report": self.report,
        }


def production_name(settings: Settings) -> str:
    """Registered model whose champion serves: `register.model_name` without `-dev`."""
    return settings.register_.model_name.removesuffix(DEVELOPMENT)


def promote(
    settings: Settings,
    root: Path,
    reference: str | None = None,
    approved_by: str | None = None,
    new_benchmark: bool = False,
    reached: Reached = nowhere,
) -> Outcome:
    """Gate a version against the champion and, if all checks say yes and policy allows, make it the champion.

    Args:
        reference: `name@alias` or `name/version`; default the candidate.
        approved_by: who approves; without it the policy `manual` stops after the gate, with alias `challenger` set.
        new_benchmark: freeze a new set from the present test split first, and judge on it.
        reached: told of every point on the way.

    Raises:
        BadInput: no such version, it is not what its tags say, or the benchmark set cannot be read.
        ResumeLater: another promotion came first, or the registry is away.
    """
    name = production_name(settings)
    with connected(settings.register_, root) as client:
        history = settle(client, name)
        version = resolve(client, reference or f"{settings.register_.model_name}@{CANDIDATE}")
        if IDENTITY_TAG not in version.tags:
            raise BadInput(f"{version.name}/{version.version} was not registered by `dp2o register`: it has no lineage")
        champion = history.champion
        if champion is not None and _identity(client, name, champion) == version.tags[IDENTITY_TAG]:
            _drop_challenger(client, version)
            return Outcome("already champion", name, champion, f"{name}/{champion} is the champion already", None)

        checks, frozen = _judged(settings, root, client, name, champion, version, new_benchmark)
        report = _report(version, name, champion, frozen, checks)
        write_json(root / REPORT, report)
        good = passed(checks)
        parent = str(champion) if champion is not None else f"base {version.tags['dp2o.base_model'][:12]}"
        for key, value in (
            (PARENT_TAG, parent),
            (VERDICT_TAG, "passed" if good else "refused"),
            (GATE_TAG, json.dumps(report, allow_nan=False)),
        ):
            client.set_model_version_tag(version.name, version.version, key, value)
        reached("judged")
        source = f"{version.name}/{version.version}"
        if not good:
            return _refused(client, name, champion, version, history, report, checks, approved_by)
        client.set_registered_model_alias(version.name, CHALLENGER, version.version)
        reached("challenger set")
        if settings.gate.policy == "manual" and not approved_by:
            text = f"{source} passed the gate and waits: approve with `dp2o promote --approved-by NAME`"
            return Outcome("awaits approval", version.name, int(version.version), text, report)
        number = into_production(client, version, name)
        reached("copied")
        by, reason = approved_by or "policy", f"{source} passed {len(checks)} checks on {frozen.name}"
        content = Content("promote", name, number, source, champion, *ledger.following(history), by, reason, report)
        record = commit(client, name, content, reached)
        _drop_challenger(client, version)
        reached("finished")
        text = f"{name}/{number} is the champion (record {record}): {reason}"
        return Outcome("promoted", name, number, text, report)


def rollback(settings: Settings, root: Path, by: str, to: int | None = None, reached: Reached = nowhere) -> Outcome:
    """Give the alias back to the champion before this one, or to the earlier champion `to`; moves nothing else.

    Raises:
        BadInput: there is no such earlier champion.
        ResumeLater: another promotion or rollback came first, or the registry is away.
    """
    name = production_name(settings)
    with connected(settings.register_, root) as client:
        history = settle(client, name)
        earlier = list(history.champions[:-1])
        present = history.champion
        if present is None or not earlier:
            raise BadInput(f"{name} has no earlier champion to go back to; `dp2o history` shows what there was")
        target = earlier[-1] if to is None else to
        if target not in earlier:
            raise BadInput(f"{name}/{target} is no earlier champion; those are {', '.join(map(str, earlier))}")
        reason = f"from {name}/{present} back to {name}/{target}"
        follows = ledger.following(history)
        content = Content("rollback", name, target, f"{name}/{target}", present, *follows, by, reason, {})
        record = commit(client, name, content, reached)
        return Outcome("promoted", name, target, f"{name}/{target} is the champion again (record {record})", None)


def history(settings: Settings, root: Path) -> tuple[History, int | None]:
    """All records, and the version that has the alias now; the two differ after a crash, until the next command.

    Raises:
        BadInput: a record was changed after it was written.
        ResumeLater: the registry is away.
    """
    name = production_name(settings)
    with connected(settings.register_, root) as client:
        return ledger.read(client, name), alias_version(client, name, CHAMPION)


def _judged(
    settings: Settings,
    root: Path,
    client: mlflow.MlflowClient,
    name: str,
    champion: int | None,
    version: ModelVersion,
    new_benchmark: bool,
) -> tuple[list[Check], FrozenSet]:
    device = settings.run.device
    challenger = _verified(settings, root, version, device)
    if champion is None:
        present = _base(settings, root, version, device)
    else:
        present = _verified(settings, root, client.get_model_version(name, str(champion)), device)
    bench = Bench.load(settings, root, resolve_device(device))
    frozen = _benchmark(settings, root, bench, device, new_benchmark)
    costs = bench.costs(frozen, [present, challenger])
    before, after = (
        bench.evidence(frozen, model, cost) for model, cost in zip((present, challenger), costs, strict=True)
    )
    return judge(before, after, frozen.expected(), settings.gate), frozen


def _benchmark(settings: Settings, root: Path, bench: Bench, device: str, new: bool) -> FrozenSet:
    """The set that settings name, else the newest; a new one where there is none or one is asked for."""
    if new and settings.gate.benchmark:
        raise BadInput(f'gate.benchmark names {settings.gate.benchmark}: set it to "" to judge on a new set')
    have = benchmark.names(root)
    if not new and (settings.gate.benchmark or have):
        return benchmark.load(root, settings.gate.benchmark or have[-1])
    frozen = bench.freeze(_base_model(settings, root, device))
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


def _report(
    version: ModelVersion, name: str, champion: int | None, frozen: FrozenSet, checks: list[Check]
) -> dict[str, Any]:
    return {
        "challenger": f"{version.name}/{version.version}",
        "champion": f"{name}/{champion}" if champion is not None else "base model",
        "benchmark": frozen.name,
        "passed": passed(checks),
        "checks": [check.as_json() for check in checks],
    }


def _refused(
    client: mlflow.MlflowClient,
    name: str,
    champion: int | None,
    version: ModelVersion,
    history: History,
    report: dict[str, Any],
    checks: list[Check],
    approved_by: str | None,
) -> Outcome:
    source = f"{version.name}/{version.version}"
    failed = [check for check in checks if check.verdict == "no"]
    reason = f"{len(failed)} of {len(checks)} checks said no, first {failed[0].name}: {failed[0].reason}"
    content = Content(
        "refuse",
        version.name,
        int(version.version),
        source,
        champion,
        *ledger.following(history),
        approved_by or "gate",
        reason,
        report,
    )
    ledger.append(client, name, content)
    if alias_version(client, version.name, CHALLENGER) == int(version.version):
        client.delete_registered_model_alias(version.name, CHALLENGER)
    return Outcome("refused", version.name, int(version.version), f"{source} is refused: {reason}", report)


def _identity(client: mlflow.MlflowClient, name: str, version: int) -> str:
    return str(client.get_model_version(name, str(version)).tags.get(IDENTITY_TAG, ""))


def _drop_challenger(client: mlflow.MlflowClient, version: ModelVersion) -> None:
    if alias_version(client, version.name, CHALLENGER) == int(version.version):
        client.delete_registered_model_alias(version.name, CHALLENGER)
