"""Signing what was promoted before records were signed: a person looks at the history, and stands for it."""

from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion

from components.errors import BadInput
from components.failpoints import Failpoint, no_failpoint
from components.gate.judging import verified
from components.promote.outcome import Outcome, announce, reason_clause, signed_by, watched
from components.promote.production import copy_to_production, lineage, prepared
from components.promote.transaction import commit
from components.registry import ledger
from components.registry.fetch import Found, model_of, ours
from components.registry.history import Content, History
from components.registry.tracking import connected
from components.registry.trust import trust_of
from components.registry.versions import production_name
from components.settings import Settings


def vouch(
    settings: Settings,
    root: Path,
    by: str,
    version_uri: str | None = None,
    reason: str = "",
    failpoint: Failpoint = no_failpoint,
) -> Outcome:
    """Record, signed, that the history so far is right, and what the files of an earlier or the present champion are.

    The version is copied to the promoter's place and takes the earlier one's, as champion or as what can be rolled back
    to. Its weights must be those that it was registered with. Nothing is judged.

    Args:
        version_uri: an earlier champion; default the present one. Where there is none yet, the history alone is signed.

    Raises:
        BadInput: nothing is to be signed, there is no key, or it was never the champion.
        HistoryBroken: the history is broken in itself: records are missing or were changed.
        ResumeLater: somebody else came first, or the registry is away.
    """
    name, trust = production_name(settings.register_.model_name), trust_of(settings.gate, root)
    if trust.key() is None:
        raise BadInput("gate.signing is none: set it to ed25519, and gate.signers to who may promote, to sign anything")
    with connected(settings.register_, root) as client, watched(settings, name):
        # What is signed now is what could not be asked to be signed before.
        history = ledger.read(client, name, trust.unsigned)
        if version_uri is None and history.champion is None:
            content, text = _history_alone(name, history, by, reason), f"the {len(history.records)} records of {name}"
        else:
            chosen = ours(client, version_uri or f"{name}/{history.champion}")
            content = _copied(client, (settings, root), history, chosen, by, reason)
            text = f"{content.source}, as {name}/{content.version}, and the {len(history.records)} records before"
        failpoint("copied")
        record = commit(client, name, content, history, trust, failpoint)
        text = f"{by} vouches for {text} (record {record}, {signed_by(trust, by)})"
        announce(settings, text, "warning", by=by)
    return Outcome("vouched", name, content.version, text, None)


def _history_alone(name: str, history: History, by: str, reason: str) -> Content:
    if not history.records:
        raise BadInput(f"{name} has no history yet: there is nothing to sign; `dp2o promote` begins it, signed")
    last = history.records[-1].content
    return Content("vouch", last.model, last.version, "", None, by, f"the history is right{reason_clause(reason)}", {})


def _copied(
    client: mlflow.MlflowClient,
    project: tuple[Settings, Path],
    history: History,
    version: ModelVersion,
    by: str,
    reason: str,
) -> Content:
    settings, root = project
    name, number = production_name(settings.register_.model_name), int(version.version)
    if version.name != name or number not in history.champions:
        have = ", ".join(map(str, history.champions)) or "none"
        raise BadInput(f"{version.name}/{number} is no champion of {name}, present or earlier; those are {have}")
    found = Found(version, history.naming(number))
    copy = model_of(client, found)
    verified(settings, root, found, copy)
    made = prepared(client, version, copy.package)
    copied, run = copy_to_production(client, (settings.register_, root), version, name, made)
    earlier = next((one for one in reversed(history.records) if one.content.version == number), None)
    return Content(
        kind="vouch",
        model=name,
        version=copied,
        source=found.name,
        parent=history.champion,
        by=by,
        reason=f"{found.name} and all before are right{reason_clause(reason)}",
        gate={} if earlier is None else earlier.content.gate,
        files=made.files,
        lineage=lineage(version),
        inputs=made.inputs,
        run=run,
    )
