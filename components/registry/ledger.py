"""The history of promotions: append-only records, each following the one before.

MLflow moves an alias without asking what it was, so two promotions could both believe that they won. What MLflow does
hand out once only are version numbers. Records are therefore versions of a registered model of their own,
`<name>-history`: each says which record it follows, and of several that follow the same one the lowest number counts.
All readers agree on the winner, nobody holds a lock that a crash would leave behind, and no record is ever written
twice. Each holds the digest of the one it follows, so that a record changed afterwards shows.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import mlflow
from mlflow.exceptions import MlflowException

from components.artifacts import digests
from components.artifacts.gate_report import GateReport
from components.errors import BadInput

CONTENT_TAG, DIGEST_TAG = "dp2o.record", "dp2o.record_digest"
SUFFIX = "-history"
Kind = Literal["promote", "rollback", "refuse"]
Status = Literal["counts", "lost", "refused"]
_PAGE = 1000


@dataclass(frozen=True)
class Content:
    """What a record says.

    Attributes:
        kind: promote and rollback make `version` the champion; refuse changes nothing.
        version: of the production model; for refuse, of the model that was judged.
        model: registered model of `version`.
        source: `name/version` the promoted version was copied from.
        parent: champion that it was judged against; None for the base model.
        after: number of the record it follows, 0 for the first.
        after_digest: digest of that record, empty for the first.
        by: who approved it, or `policy` for an automatic promotion.
        reason: one line for people.
        gate: the gate's report as it was written, since the record's digest is of that; empty for a rollback.
    """

    kind: Kind
    model: str
    version: int
    source: str
    parent: int | None
    after: int
    after_digest: str
    by: str
    reason: str
    gate: Mapping[str, Any]

    @property
    def report(self) -> GateReport | None:
        """`gate` as a report; None where there is none, or one of another version of the gate."""
        return GateReport.of(self.gate)


@dataclass(frozen=True)
class Record:
    """A stored record: `number` and time were given by MLflow."""

    number: int
    created_ms: int
    content: Content
    digest: str
    status: Status = "counts"
    lost_to: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class History:
    """All records, oldest first, and what follows from them."""

    records: Sequence[Record]
    champions: Sequence[int]
    """Versions that were champion, the present one last; a rollback takes off those after its target."""
    head: Record | None
    """The last record that counts."""

    @property
    def champion(self) -> int | None:
        """Version that should have the alias."""
        return self.champions[-1] if self.champions else None


def read(client: mlflow.MlflowClient, name: str) -> History:
    """History of the production model `name`.

    Raises:
        BadInput: a record was changed after it was written.
    """
    found = []
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}{SUFFIX}'", max_results=_PAGE, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            break
    return replay([_record(version) for version in found])


def replay(stored: Sequence[Record]) -> History:
    """Which records count, in the order of their numbers. Pure.

    Raises:
        BadInput: a record does not hold the digest of the record it follows.
    """
    records: list[Record] = []
    champions: list[int] = []
    head: Record | None = None
    followed: dict[int, int] = {}
    for record in sorted(stored, key=lambda record: record.number):
        content = record.content
        if content.kind == "refuse":
            records.append(_with(record, "refused"))
            continue
        if content.after != (head.number if head else 0):
            records.append(_with(record, "lost", followed.get(content.after)))
            continue
        if content.after_digest != (head.digest if head else ""):
            raise BadInput(
                f"history record {content.after} is not what it was when record {record.number} was written: somebody "
                "changed it; restore the registry's database from its backup"
            )
        followed[content.after] = record.number
        head = record
        records.append(record)
        if content.version in champions:
            del champions[champions.index(content.version) + 1 :]
        else:
            champions.append(content.version)
    return History(records, champions, head)


def append(client: mlflow.MlflowClient, name: str, content: Content) -> int:
    """Write a record; its number. Whether it counts shows when the history is read again."""
    ledger = name + SUFFIX
    with contextlib.suppress(MlflowException):  # it is there already; what else can go wrong will again, just below
        client.create_registered_model(ledger, description=f"Promotions and rollbacks of {name}; written by dp2o only.")
    plain = asdict(content)
    version = client.create_model_version(
        ledger,
        source=f"models:/{content.model}/{content.version}",
        tags={CONTENT_TAG: json.dumps(plain, allow_nan=False), DIGEST_TAG: digests.of_json(plain)},
        description=f"{content.kind} {content.model}/{content.version} by {content.by}: {content.reason}",
    )
    return int(version.version)


def following(history: History) -> tuple[int, str]:
    """`after` and `after_digest` of the next record."""
    return (history.head.number, history.head.digest) if history.head else (0, "")


def _with(record: Record, status: Status, lost_to: int | None = None) -> Record:
    return Record(record.number, record.created_ms, record.content, record.digest, status, lost_to)


def _record(version: Any) -> Record:
    try:
        plain = json.loads(version.tags[CONTENT_TAG])
        digest = version.tags[DIGEST_TAG]
        content = Content(**plain)
    except (KeyError, ValueError, TypeError) as error:
        raise BadInput(
            f"{version.name}/{version.version} is no record of a promotion ({error}): somebody changed it; restore the "
            "registry's database from its backup"
        ) from error
    if digests.of_json(plain) != digest:
        raise BadInput(
            f"{version.name}/{version.version} does not fit its digest: somebody changed it; restore the registry's "
            "database from its backup"
        )
    return Record(int(version.version), version.creation_timestamp, content, digest)
