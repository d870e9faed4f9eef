"""What is out of date, and whether a run is at work: asked of DVC without its locks, so that it can be asked beside a
run. Nothing of the project is written."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from components.errors import BadInput
from components.storage.dvc_inputs import hash_what_can_be_read

ROUND_NOTE = Path(".dvc/tmp/dp2o-round.json")
"""What a training of several rounds is at, while it is."""


@dataclass(frozen=True)
class Run:
    """A run at work.

    Attributes:
        pid: of `dp2o run`, or of whatever holds DVC's locks.
        stage: which is at work; empty between two.
        doing: what it is at, of a training of several rounds.
    """

    pid: int
    stage: str = ""
    doing: str = ""

    @property
    def text(self) -> str:
        """For people."""
        stage, doing = (f", {text}" if text else "" for text in (self.stage and f"stage {self.stage}", self.doing))
        return f"a run is at work (process {self.pid}{stage}{doing})"


@dataclass(frozen=True)
class Status:
    """Of a pipeline.

    Attributes:
        out_of_date: what has changed, by stage, as `dvc status --json` has it; empty when all is up to date.
        run: at work now, None where there is none. What its stage makes is out of date until it is done.
        stages: names of all, in their order.
    """

    out_of_date: dict[str, Any]
    run: Run | None
    stages: tuple[str, ...]


def status_of(root: Path) -> Status:
    """The state of the pipeline in `root`.

    Raises:
        BadInput: DVC cannot say, for example because there is no pipeline in `root`.
    """
    from dvc.exceptions import DvcException  # noqa: PLC0415  # a second to import
    from dvc.lock import LockNoop  # noqa: PLC0415
    from dvc.repo import Repo  # noqa: PLC0415

    hash_what_can_be_read()
    try:
        repo = Repo(str(root))
        if Path(repo.root_dir) != root.resolve():
            raise BadInput(
                f"dvc status failed in {root}: it is no DVC project of its own; `git init && dvc init` there"
            )
        repo.lock = LockNoop()
        stages = list(repo.index.stages)
        changed = {_name(stage, root): reasons for stage in stages if (reasons := list(_reasons(stage)))}
        writers = {output.fs_path: _name(stage, root) for stage in stages for output in stage.outs}
        return Status(changed, _run(Path(repo.tmp_dir), writers), tuple(_name(stage, root) for stage in stages))
    except (DvcException, OSError) as error:
        raise BadInput(f"dvc status failed in {root}: {error}\nrun from the project's root") from error


def _name(stage: Any, root: Path) -> str:
    name = getattr(stage, "name", None)
    return str(name) if name else Path(stage.path).relative_to(root.resolve()).as_posix()


def _reasons(stage: Any) -> Iterator[Any]:
    if not stage.frozen and (changed := _changed(stage.deps)):
        yield {"changed deps": changed}
    if changed := _changed(stage.outs):
        yield {"changed outs": changed}
    if stage.is_callback or stage.always_changed:
        yield "always changed"
    if stage.changed_stage():
        yield "changed command"


def _changed(entries: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in entries:
        status = entry.status()
        if status:  # its own keys are relative to where the question is asked
            found[str(entry.def_path)] = next(iter(status.values()))
    return found


def _run(folder: Path, writers: dict[str, str]) -> Run | None:
    """Who holds DVC's locks, in its folder of temporary files: the repository's, or that of what a stage writes."""
    try:
        content = json.loads((folder / "rwlock").read_text())
        held = [(int(holder["pid"]), path) for path, holder in content["write"].items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        held = []  # none, or just being written
    for pid, path in held:
        if psutil.pid_exists(pid):
            return Run(pid, writers.get(path, ""), _doing(folder / ROUND_NOTE.name))
    try:
        pid = int((folder / "lock").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return Run(pid) if psutil.pid_exists(pid) and _is_locked(folder / "lock") else None


def _doing(note: Path) -> str:
    """What a note says whose writer is at work; a killed one leaves it behind."""
    try:
        content = json.loads(note.read_text())
        return str(content["doing"]) if psutil.pid_exists(int(content["pid"])) else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _is_locked(path: Path) -> bool:
    """DVC leaves the file where it is: only a lock on it counts."""
    import fcntl  # noqa: PLC0415

    try:
        with path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(file, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
