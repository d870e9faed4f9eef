"""Where a model version comes from: photo, LR, candidates, scores, pairs, model, gate, alias, each with its digest.

The registry says which dvc.lock a version was registered with (by its digest), and git has it; the lock says what each
stage made of what. What is not here is said, not guessed: another branch's commits may have to be fetched first.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.artifacts import paths
from components.artifacts.lock import LOCK, Item, Lock, Step, sources
from components.registry import ledger
from components.registry.fetch import ours
from components.registry.models import Version, described
from components.registry.tracking import connected
from components.registry.trust import trust_of
from components.registry.versions import gate_report, production_name
from components.settings import Settings
from components.storage import git

MODEL = paths.ALIGNED.as_posix()
"""What the version's weights are, among the outputs of the pipeline."""
LOCK_TAG = "dp2o.dvc_lock"
NOT_OF_THE_DIGEST = ("register",)
HERE = "this folder"


@dataclass(frozen=True)
class Trace:
    """Everything that is known of how a version came to be.

    Attributes:
        version: with its tags, which have the digests of code, data, settings, weights and metrics.
        source: `name/version` that it was copied from; empty where it was registered itself.
        decisions: records of the history that are about it, oldest first.
        gate: the report it carries; None where it was not judged.
        recorded_in: commit whose dvc.lock is the version's, or `this folder`; None where it was not found.
        steps: that lead to the weights, the last first.
    """

    version: Version
    source: str
    decisions: tuple[dict[str, Any], ...]
    gate: dict[str, Any] | None
    recorded_in: str | None
    steps: tuple[Step, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @property
    def sources(self) -> tuple[Item, ...]:
        """What no stage made: data that came from outside, and code."""
        return sources(self.steps)


def trace(settings: Settings, root: Path, version_uri: str) -> Trace:
    """Of `name@alias` or `name/version`, with or without `models:/`.

    Raises:
        BadInput: there is no such version, or it is none of this project's.
    """
    trust = trust_of(settings.gate, root)
    with connected(settings.register_, root) as client:
        found = ours(client, version_uri)
        version = described(found, client.get_registered_model(found.name).aliases)
        report = gate_report(found)
        records = ledger.read(client, production_name(found.name), trust).records
    own = f"{version.model}/{version.version}"
    about = [one for one in records if own in (f"{one.content.model}/{one.content.version}", one.content.source)]
    source = next((one.content.source for one in about if one.content.source != own), "")
    recorded, found_lock = locked(root, version.tags.get(LOCK_TAG, ""))
    return Trace(
        version,
        source,
        tuple(one.as_json() for one in about),
        None if report is None else report.model_dump(mode="json"),
        recorded,
        tuple(found_lock.leading_to(MODEL)),
    )


def locked(root: Path, digest: str) -> tuple[str | None, Lock]:
    """Where the dvc.lock with this digest is, and the lock; None and an empty one where it is not found."""
    for place, text in _locks(root):
        lock = Lock.parse(text, f"{LOCK} of {place}")
        if lock.digest(NOT_OF_THE_DIGEST) == digest:
            return place, lock
    return None, Lock({})


def _locks(root: Path) -> Iterator[tuple[str, str]]:
    """The lock here, then those of all commits that changed it, newest first."""
    if (root / LOCK).is_file():
        yield HERE, (root / LOCK).read_text()
    commits = git.call(root, "log", "--all", "--format=%H", "--", LOCK)
    for commit in commits.stdout.split() if commits.returncode == 0 else ():
        shown = git.call(root, "show", git.END, f"{commit}:./{LOCK}")  # fails for a commit that removed the file
        if shown.returncode == 0 and shown.stdout:
            yield commit, shown.stdout


def as_text(found: Trace) -> str:
    """For people: the alias first, the photos last."""
    version, tags = found.version, found.version.tags
    aliases = " ".join(f"@{alias}" for alias in version.aliases) or "no alias"
    lines = [f"{version.model}/{version.version}  {aliases}"]
    for record in found.decisions:
        content = record["content"]
        lost = f" (lost to record {record['lost_to']})" if record["status"] == "lost" else ""
        signed = f", signed by {record['signer']}" if record["signer"] else ""
        number = f"record {record['number']}{signed}{lost}"
        lines.append(f"  {content['kind']} by {content['by']}, {number}: {content['reason']}")
    if found.gate is not None:
        verdict = "passed" if found.gate["passed"] else "refused"
        lines.append(f"  gate: {verdict} against {found.gate['champion']}, benchmark {found.gate['benchmark']}")
    else:
        lines.append("  gate: not judged")
    if found.source:
        lines.append(f"  copied from {found.source}")
    dirty = ", with changes that are in no commit" if tags.get("dp2o.git_dirty") == "true" else ""
    lines.append(f"  run {version.run_id}, code {tags.get('dp2o.git_commit', 'unknown')[:12]}{dirty}")
    lines.append(f"  weights {_short(tags, 'dp2o.model')}, trained from {_short(tags, 'dp2o.base_model')}")
    if found.recorded_in is None:
        where = "is not in this folder nor in any commit here: fetch the branch that it was committed to"
        lines.append(f"  its {LOCK} ({_short(tags, LOCK_TAG)}) {where}")
        return "\n".join(lines)
    lines.append(f"  {LOCK} of {found.recorded_in[:12]}")
    for step in found.steps:
        lines.append(f"{step.stage} made")
        lines += [f"  {_item(item)}" for item in step.outputs]
    lines.append("from")
    lines += [f"  {_item(item)}" for item in found.sources]
    return "\n".join(lines)


def _short(tags: dict[str, str], name: str) -> str:
    return tags.get(name, "unknown")[:12]


def _item(item: Item) -> str:
    files = f", {item.files} files" if item.md5.endswith(".dir") else ""
    return f"{item.path}  md5 {item.md5[:12]}, {_size(item.size)}{files}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
