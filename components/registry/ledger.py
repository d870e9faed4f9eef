"""The history of promotions: append-only records, each following the one before.

MLflow moves an alias without asking what it was, so two promotions could both believe that they won. What MLflow does
hand out once only are version numbers. Records are therefore versions of a registered model of their own,
`<name>-history`: each says which record it follows, and of several that follow the same one the lowest number counts.
All readers agree on the winner, nobody holds a lock that a crash would leave behind, and no record is ever written
twice.

What was written cannot be changed or taken away unseen. Numbers have no gap, since MLflow gives none twice. Every
record, refusals and those that lost as well, holds the digest of all that its writer saw before it. Where
`gate.signing` asks for it each is signed, and where `gate.anchor` names a place the end of the history is kept outside
the registry.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from pydantic import TypeAdapter

from components.errors import HistoryBroken, ResumeLater
from components.registry import provenance, signing
from components.registry.anchor import Anchored, as_bytes, parsed
from components.registry.history import SUFFIX, Content, History, Record, replay
from components.registry.trust import Trust
from components.storage import digests

CONTENT_TAG, DIGEST_TAG, ENVELOPE_TAG = "dp2o.record", "dp2o.record_digest", "dp2o.envelope"
ACCOUNT_VARIABLE = "MLFLOW_TRACKING_USERNAME"
_CONTENT = TypeAdapter(Content)
_PAGE = 1000
_ATTEMPTS = 10


def read(client: mlflow.MlflowClient, name: str, trust: Trust) -> History:
    """History of the production model `name`.

    Raises:
        HistoryBroken: records were changed or are missing, are not signed by who may promote, or do not reach as far as
            their anchor.
    """
    history = stored(client, name, trust)
    if trust.anchor is not None:
        # After the records: an anchor that another moved on meanwhile may be ahead of what was read, never behind.
        anchored = parsed(trust.anchor.read(name)[0], name, str(trust.anchor))
        for _ in range(_ATTEMPTS):
            if anchored is None or anchored.number <= len(history.records):
                break
            before, history = len(history.records), stored(client, name, trust)
            if len(history.records) == before:
                break
        check_anchor(history, anchored, name, str(trust.anchor))
    return history


def stored(client: mlflow.MlflowClient, name: str, trust: Trust) -> History:
    """The same, whatever the anchor says."""
    found: dict[int, Record] = {}
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}{SUFFIX}'", max_results=_PAGE, page_token=token)
        found |= {int(version.version): _record(version, name, trust) for version in page}
        token = page.token
        if not token:
            return replay(list(found.values()), name, trust.required)


def check_anchor(history: History, anchored: Anchored | None, name: str, place: str) -> None:
    """See that the history reaches its anchor, and was the same then.

    Raises:
        HistoryBroken: it does not.
    """
    ledger, count = name + SUFFIX, len(history.records)
    way_out = "restore the registry's database from its backup"
    if anchored is None:
        if count:
            raise HistoryBroken(
                f"{ledger} has {count} records, and {place} has no anchor of them: somebody took it away; or "
                "gate.anchor is new: look at `dp2o history --unchecked`, then `dp2o history --anchor` writes the first"
            )
        return
    if anchored.number > count:
        raise HistoryBroken(
            f"{ledger} ends with record {count}, and its anchor at {place} with {anchored.number}: the last records "
            f"were deleted; {way_out}"
        )
    if history.chain[anchored.number] != anchored.digest:
        raise HistoryBroken(
            f"records up to {anchored.number} of {ledger} are not those that were anchored at {place}: somebody wrote "
            f"others in their place; {way_out}"
        )


def anchor(client: mlflow.MlflowClient, name: str, trust: Trust, accepting: bool = False) -> History:
    """Move the anchor on to the newest record, before anything follows from it; the history.

    Args:
        accepting: whatever the anchor says now, the history as it is becomes what it says.

    Raises:
        HistoryBroken: as `read`.
        ResumeLater: others keep moving it.
    """
    if trust.anchor is None:
        return stored(client, name, trust)
    for _ in range(_ATTEMPTS):
        found, token = trust.anchor.read(name)
        history = stored(client, name, trust)
        wanted = Anchored(len(history.records), history.chain[-1])
        if not accepting:
            known = parsed(found, name, str(trust.anchor))
            check_anchor(history, known, name, str(trust.anchor))
        if found == as_bytes(name, wanted) or trust.anchor.write(name, wanted, token):
            return history
    raise ResumeLater(f"the anchor at {trust.anchor} is moved again and again by others: run the same command again")


def append(client: mlflow.MlflowClient, name: str, content: Content, history: History, trust: Trust) -> int:
    """Write a record; its number. Whether it counts shows when the history is read again.

    Args:
        history: that was read before: all of it is vouched for by what is written now.

    Raises:
        BadInput: it must be signed, and there is no key.
    """
    ledger, key = name + SUFFIX, trust.key()
    with contextlib.suppress(MlflowException):  # it is there already; what else can go wrong will again, just below
        client.create_registered_model(ledger, description=f"Promotions and rollbacks of {name}; written by dp2o only.")
    seen = replace(content, seen=len(history.records), seen_digest=history.chain[-1])
    plain = asdict(replace(seen, account=os.environ.get(ACCOUNT_VARIABLE, "")))
    digest = digests.of_json(plain)
    tags = {CONTENT_TAG: json.dumps(plain, allow_nan=False), DIGEST_TAG: digest}
    if key is not None:
        said = json.dumps(provenance.statement(plain, digest), sort_keys=True).encode()
        tags[ENVELOPE_TAG] = signing.seal(key[1], said, provenance.PAYLOAD)
    version = client.create_model_version(
        ledger,
        source=f"models:/{content.model}/{content.version}",
        tags=tags,
        description=f"{content.kind} {content.model}/{content.version} by {content.by}: {content.reason}",
    )
    return int(version.version)


def _record(version: Any, name: str, trust: Trust) -> Record:
    place = f"{version.name}/{version.version}"
    try:
        plain = json.loads(version.tags[CONTENT_TAG])
        digest = version.tags[DIGEST_TAG]
        content = Content(**plain)
        _CONTENT.validate_json(version.tags[CONTENT_TAG], strict=True)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise HistoryBroken(
            f"{place} is no record of a promotion ({error}): somebody changed it; restore the registry's database from "
            "its backup"
        ) from error
    if digests.of_json(plain) != digest:
        raise HistoryBroken(
            f"{place} does not fit its digest: somebody changed it; restore the registry's database from its backup"
        )
    envelope = version.tags.get(ENVELOPE_TAG, "")
    signer = _signer(envelope, content, digest, trust.signers)
    return Record(int(version.version), version.creation_timestamp, content, digest, signer=signer, envelope=envelope)


def _signer(envelope: str, content: Content, digest: str, signers: Mapping[str, str]) -> str:
    """Name of the key that signed this very record; empty where none of `signers` did."""
    sealed = signing.unseal(envelope, provenance.PAYLOAD, signers) if envelope else None
    if sealed is None:
        return ""
    said = json.loads(sealed.payload)
    same = provenance.record_digest(said) == digest and (
        not content.files or provenance.subjects(said) == content.files
    )
    return sealed.signer if same else ""
