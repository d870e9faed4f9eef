"""What records of promotions say, and what follows from all of them together. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from components.artifacts.gate_report import GateReport
from components.errors import HistoryBroken
from components.storage import digests

SUFFIX = "-history"
"""What the name of a history has beyond the production model's."""
DEVELOPMENT = "-dev"
"""What the development model's name has beyond the production model's."""
Kind = Literal["promote", "rollback", "refuse", "vouch"]
Status = Literal["counts", "lost", "refused"]
_RESTORE = "restore the registry's database from its backup"


@dataclass(frozen=True)
class Content:
    """What a record says. Later fields were added later; older records lack them.

    Attributes:
        kind: promote and rollback make `version` the champion; refuse changes nothing; vouch puts `version` in the
            place of an earlier champion, `source`, and stands for all records before it, signed or not.
        version: of the production model; for refuse, of the model that was judged.
        model: registered model of `version`.
        source: `name/version` the promoted version was copied from.
        parent: champion that it was judged against; None for the base model.
        by: who approved it, or `policy` for an automatic promotion; as that person typed it.
        reason: one line for people.
        gate: the gate's report as it was written, since the record's digest is of that; empty for a rollback.
        after: number of the decision it follows, 0 for the first.
        after_digest: digest of that record, empty for the first.
        files: hex sha256 of every file of the version that is promoted, by path.
        lineage: tags of the version, which say what it was made of; as who trained it said.
        inputs: DVC's md5 of what came from outside, by path; empty where the dvc.lock was not found.
        run: MLflow run that has the files.
        seen: number of records when this one was written.
        seen_digest: of all of them.
        account: MLflow user who wrote it, as the client said; empty without users.
    """

    kind: Kind
    model: str
    version: int
    source: str
    parent: int | None
    by: str
    reason: str
    gate: Mapping[str, Any]
    after: int = 0
    after_digest: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    run: str = ""
    seen: int = 0
    seen_digest: str = ""
    account: str = ""

    @property
    def report(self) -> GateReport | None:
        """`gate` as a report; None where there is none, or one of another version of the gate."""
        return GateReport.of(self.gate)


@dataclass(frozen=True)
class Record:
    """A stored record: `number` and time were given by MLflow.

    Attributes:
        signer: name of the key that signed it; empty where none that is known did.
        envelope: what was signed, with its signature; empty where nothing was.
    """

    number: int
    created_ms: int
    content: Content
    digest: str
    status: Status = "counts"
    lost_to: int | None = None
    signer: str = ""
    envelope: str = ""

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
    chain: Sequence[str] = ("",)
    """Digest of the first n records, n from 0 on."""

    @property
    def champion(self) -> int | None:
        """Version that should have the alias."""
        return self.champions[-1] if self.champions else None

    def naming(self, version: int) -> Record | None:
        """The last record that counts and names the files of this version of the production model."""
        found = [
            record
            for record in self.records
            if record.status == "counts" and record.content.version == version and record.content.files
        ]
        return found[-1] if found else None

    def promoted(self, version: int) -> bool:
        """Whether a record that counts made this version of the production model the champion."""
        return any(
            record.status == "counts" and record.content.kind != "vouch" and record.content.version == version
            for record in self.records
        )


def replay(stored: Sequence[Record], name: str = "", signed: bool = False) -> History:
    """Which records count, in the order of their numbers.

    Args:
        name: production model that all must be about; empty: any.
        signed: whether each must be signed, or vouched for by a later one that is.

    Raises:
        HistoryBroken: records are missing, do not hold the digest of what was before them, are another model's, or are
            not signed.
    """
    records = sorted(stored, key=lambda record: record.number)
    chain = _chain(records, name)
    found: list[Record] = []
    champions: list[int] = []
    head: Record | None = None
    followed: dict[int, int] = {}
    for record in records:
        content = record.content
        if content.kind == "refuse":
            found.append(replace(record, status="refused"))
            continue
        if content.after != (head.number if head else 0):
            found.append(replace(record, status="lost", lost_to=followed.get(content.after)))
            continue
        if content.after_digest != (head.digest if head else ""):
            raise HistoryBroken(
                f"history record {content.after} is not what it was when record {record.number} was written: somebody "
                f"changed it; {_RESTORE}"
            )
        followed[content.after] = record.number
        head = record
        found.append(record)
        _apply(content, champions)
    if signed:
        _check_signatures(found, name)
    return History(found, champions, head, chain)


def _chain(records: Sequence[Record], name: str) -> list[str]:
    """Digests of the first n records, checked against what each record saw.

    Raises:
        HistoryBroken: a number is missing, or a record saw something else, or is another model's.
    """
    ledger, chain = f"{name or 'the'}{SUFFIX if name else ' history'}", [""]
    for position, record in enumerate(records, start=1):
        content = record.content
        if record.number != position:
            raise HistoryBroken(
                f"record {position} of {ledger} is missing, and there is a record {record.number}: somebody deleted "
                f"it; {_RESTORE}"
            )
        if name and content.model.removesuffix(DEVELOPMENT) != name.removesuffix(DEVELOPMENT):
            raise HistoryBroken(
                f"record {record.number} of {ledger} is about {content.model}: somebody copied it from another "
                f"history; {_RESTORE}"
            )
        if content.seen and (content.seen >= record.number or chain[content.seen] != content.seen_digest):
            raise HistoryBroken(
                f"records up to {content.seen} of {ledger} are not what they were when record {record.number} was "
                f"written: somebody changed them; {_RESTORE}"
            )
        chain.append(digests.of_json([chain[-1], record.number, record.digest]))
    return chain


def _apply(content: Content, champions: list[int]) -> None:
    """What a record that counts makes of the list of champions."""
    if content.kind == "vouch":
        earlier = [one for one in champions if content.source == f"{content.model}/{one}"]
        if earlier:
            champions[champions.index(earlier[0])] = content.version
    elif content.version in champions:
        del champions[champions.index(content.version) + 1 :]
    else:
        champions.append(content.version)


def _check_signatures(records: Sequence[Record], name: str) -> None:
    vouched = max(
        (r.content.seen for r in records if r.content.kind == "vouch" and r.status == "counts" and r.signer), default=0
    )
    lacking = [record for record in records if not record.signer and record.number > vouched]
    if lacking:
        first, said = lacking[0], lacking[0].content
        how = "is signed by no key of gate.signers" if first.envelope else "is not signed"
        more = f", nor are {len(lacking) - 1} others" if len(lacking) > 1 else ""
        raise HistoryBroken(
            f"record {first.number} of {name}{SUFFIX} ({said.kind} {said.model}/{said.version} by {said.by}) "
            f"{how}{more}: somebody wrote it who may not, or it is older than gate.signing: look at "
            "`dp2o history --unchecked`; if all of it is right, `dp2o models sign` vouches for it with your key"
        )
