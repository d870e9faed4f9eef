"""Work as child processes of this machine: what a laptop and the tests use.

A run's folder has a record and a log for each piece of work, under a name that follows from the work alone
(`names.name_of`). A restarted flow that submits the same work finds the record: it waits for the process, which lives
on without the flow, or reads how it ended. `supervise` sees to it that nothing runs twice.
"""

import contextlib
import fcntl
import glob
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from components.errors import BadInput, ExitCode
from flows.launchers import supervise
from flows.launchers.base import Failure, Outcome, State, Work, failure_by
from flows.launchers.names import name_of

POLL = 0.1
"""Seconds between looks at a record; what a shard's end is noticed late by."""

LAST_BYTES, LAST_LINES = 2000, 5
"""Of the log, in the description of a failure."""

NOT_FOR_WORK = frozenset({"DP2O_RUN_KEY"})
"""Of the flow alone: who has it can seal any result."""
VISIBLE, DEVICES = "CUDA_VISIBLE_DEVICES", "devices"


def gpus_here() -> tuple[str, ...]:
    """Ids of this machine's GPUs as CUDA_VISIBLE_DEVICES takes them; a restriction that is set already is kept."""
    if VISIBLE in os.environ:
        return tuple(name.strip() for name in os.environ[VISIBLE].split(",") if name.strip() not in {"", "-1"})
    return tuple(str(number) for number in range(len(glob.glob("/dev/nvidia[0-9]*"))))


@dataclass
class _Entry:
    """What this launcher knows of one piece of work."""

    work: Work
    folder: Path
    log: Path
    devices: tuple[str, ...] = ()
    started: bool = False
    told: int = 0  # bytes of the log that were given to `on_line`
    deleted: bool = False
    supervisor: subprocess.Popen[bytes] | None = None
    telling: threading.Lock = field(default_factory=threading.Lock)


class LocalLauncher:
    """Runs work as child processes, each in a session of its own.

    Args:
        folder: records and logs; keep it between runs, it is what a restarted flow adopts by. Must be on a local disk.
        gpus: ids for CUDA_VISIBLE_DEVICES; default: those of this machine. Work that wants more than are free waits.
        grace: seconds between SIGTERM and SIGKILL.
        project: where the processes run; default: here.
        run_timeout: seconds after which work that still runs is ended as DeadlineExceeded; None: never.
    """

    def __init__(
        self,
        folder: Path,
        gpus: Sequence[str] | None = None,
        grace: float = 30.0,
        project: Path | None = None,
        run_timeout: float | None = None,
    ) -> None:
        self._folder = folder.absolute()
        self._gpus = tuple(gpus_here() if gpus is None else gpus)
        self._grace = grace
        self._project = project
        self._run_timeout = run_timeout
        self._lock = threading.RLock()
        self._entries: dict[str, _Entry] = {}
        self._closed = False
        self._folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "LocalLauncher":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, work: Work) -> str:
        """Start `work`, or adopt the process or the exit code that are there; its handle.

        With too few free GPUs it is Queued, and starts in the order of submission when others have ended.

        Raises:
            BadInput: it wants more GPUs than this launcher has, or several machines.
        """
        if work.nodes > 1:
            raise BadInput(f"{work.stage} wants {work.nodes} nodes and the local launcher has one; use kubernetes")
        if work.gpus > len(self._gpus):
            raise BadInput(
                f"{work.stage} {work.shard} wants {work.gpus} GPUs and the local launcher has {len(self._gpus)}; "
                "lower the stage's GPUs (0: run on the CPU), or use the kubernetes launcher"
            )
        name = name_of(work)
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry.deleted:
                folder = self._folder / name
                entry = _Entry(work, folder, self._folder / f"{name}.log")
                entry.started = (folder / supervise.GROUP).exists()
                if entry.started and entry.log.exists():
                    entry.told = entry.log.stat().st_size  # the flow before this one has told those lines
                entry.deleted = self._closed
                self._entries[name] = entry
            self._start_what_fits()
        return name

    def _start_what_fits(self) -> None:
        """Start queued work, oldest first, as long as there are GPUs for it."""
        with self._lock:
            free = [gpu for gpu in self._gpus if gpu not in self._taken()]
            for entry in self._entries.values():
                if entry.started or entry.deleted:
                    continue
                if entry.work.gpus > len(free):
                    break  # nothing overtakes: a wide one would wait for ever
                entry.devices, free = tuple(free[: entry.work.gpus]), free[entry.work.gpus :]
                self._start(entry)

    def _taken(self) -> set[str]:
        """GPUs of all that runs below the folder, whoever started it."""
        taken: set[str] = set()
        for record in self._folder.glob(f"*/{DEVICES}"):
            if not (record.parent / supervise.EXIT).exists() and _is_locked(record.parent):
                taken.update(record.read_text().split())
        for entry in self._entries.values():  # the lock of one that starts may not be held yet
            if entry.supervisor is not None and entry.supervisor.poll() is None:
                taken.update(entry.devices)
        return taken

    def _start(self, entry: _Entry) -> None:
        entry.folder.mkdir(exist_ok=True)
        (entry.folder / DEVICES).write_text(" ".join(entry.devices))
        outer = {name: value for name, value in os.environ.items() if name not in NOT_FOR_WORK}
        environment = {**outer, "PYTHONUNBUFFERED": "1", **entry.work.environment, **entry.work.secrets}
        environment[VISIBLE] = ",".join(entry.devices)
        arguments = [sys.executable, "-I", supervise.__file__, str(entry.folder)]
        with entry.log.open("ab") as log:
            entry.supervisor = subprocess.Popen(
                [*arguments, sys.executable, "-m", *entry.work.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self._project,
                start_new_session=True,
            )
        entry.started = True

    def wait(
        self,
        handle: str,
        on_state: Callable[[State], None] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Outcome:
        """Block until it has ended, see `base.Launcher.wait`."""
        entry = self._entry(handle)
        before: State | None = None
        deadline: float | None = None
        while True:
            state, outcome = self._observe(entry)
            if state is State.RUNNING and self._run_timeout is not None:
                deadline = deadline or time.monotonic() + self._run_timeout
                if time.monotonic() > deadline:
                    self._stop(entry)
                    outcome = Outcome(
                        State.FAILED, Failure.DEADLINE_EXCEEDED, f"it was stopped after {self._run_timeout:g} s"
                    )
                    state = outcome.state
            if on_line is not None:
                self._tell(entry, on_line, whole=outcome is not None)
            if state is not before and on_state is not None:
                on_state(state)
            before = state
            if outcome is not None:
                self._start_what_fits()
                return outcome
            if state is State.QUEUED:
                self._start_what_fits()
            time.sleep(POLL)

    def _observe(self, entry: _Entry) -> tuple[State, Outcome | None]:
        if entry.deleted:
            return State.FAILED, Outcome(State.FAILED, Failure.CANCELLED, "it was deleted")
        if not entry.started:
            return State.QUEUED, None
        supervised = entry.supervisor is not None and entry.supervisor.poll() is None
        alive = supervised or _is_locked(entry.folder)
        with contextlib.suppress(FileNotFoundError):  # looked for after `alive`: it is written before the lock is free
            return _ended(int((entry.folder / supervise.EXIT).read_text()), entry.log)
        if alive:
            return (State.RUNNING if (entry.folder / supervise.GROUP).exists() else State.PENDING), None
        if entry.deleted:  # by another thread, since the first look
            return State.FAILED, Outcome(State.FAILED, Failure.CANCELLED, "it was deleted")
        detail = f"its processes are gone and left no exit code in {entry.folder}"
        return State.FAILED, Outcome(State.FAILED, Failure.LOST, detail)

    def _tell(self, entry: _Entry, on_line: Callable[[str], None], whole: bool) -> None:
        """Give what the log has beyond what was told: whole lines, and the unfinished last one if `whole`."""
        with entry.telling:
            try:
                with entry.log.open("rb") as log:
                    log.seek(entry.told)
                    new = log.read()
            except FileNotFoundError:
                return
            end = len(new) if whole else new.rfind(b"\n") + 1
            entry.told += end
            for line in new[:end].splitlines():
                on_line(line.decode(errors="replace"))

    def logs(self, handle: str) -> Iterator[str]:
        """The log's lines so far; they stay after `delete`."""
        with contextlib.suppress(FileNotFoundError), self._entry(handle).log.open(errors="replace") as log:
            for line in log:
                yield line.rstrip("\n")

    def delete(self, handle: str) -> None:
        """Ask it to stop, kill it after the grace time, and remove its record; the log stays for people to read."""
        entry = self._entry(handle)
        entry.deleted = True
        self._stop(entry)
        shutil.rmtree(entry.folder, ignore_errors=True)
        self._start_what_fits()

    def _stop(self, entry: _Entry) -> None:
        """SIGTERM to the command, SIGKILL to its group after the grace time."""
        deadline = time.monotonic() + self._grace
        asked = False
        while _is_locked(entry.folder) or (entry.supervisor is not None and entry.supervisor.poll() is None):
            group = _group(entry)
            if group is None:  # it has not come to write it yet
                time.sleep(POLL / 10)
                continue
            with contextlib.suppress(ProcessLookupError):
                if time.monotonic() > deadline:
                    os.killpg(group, signal.SIGKILL)
                elif not asked:
                    try:
                        os.kill(group, signal.SIGTERM)  # the supervisor, which passes it on
                    except ProcessLookupError:
                        os.killpg(group, signal.SIGTERM)
            asked = True
            time.sleep(POLL / 10)

    def sweep(self, run: str) -> None:
        """Nothing is left: a process ends with its work, and one that runs is adopted by who submits it again."""

    def close(self) -> None:
        """Delete all that was submitted here and not deleted, at once; what is submitted from now on is Cancelled."""
        with self._lock:
            self._closed = True
            threads = [
                threading.Thread(target=self.delete, args=(name,))
                for name, entry in self._entries.items()
                if not entry.deleted
            ]
            for entry in self._entries.values():
                entry.deleted = True  # nothing that is queued may start now
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _entry(self, handle: str) -> _Entry:
        with self._lock:
            try:
                return self._entries[handle]
            except KeyError:
                raise KeyError(
                    f"{handle} was not submitted here; submit the work, which adopts what is there"
                ) from None


def _ended(code: int, log: Path) -> tuple[State, Outcome]:
    if code == ExitCode.OK:
        return State.SUCCEEDED, Outcome(State.SUCCEEDED, exit_code=0)
    said = _last_lines(log)
    return State.FAILED, Outcome(
        State.FAILED, failure_by(code, said), f"exit code {code}; {log} ends with:\n{said}", code
    )


def _last_lines(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-LAST_LINES:])


def _group(entry: _Entry) -> int | None:
    with contextlib.suppress(FileNotFoundError):
        return int((entry.folder / supervise.GROUP).read_text())
    return None if entry.supervisor is None else entry.supervisor.pid


def _is_locked(folder: Path) -> bool:
    """Whether a process of this work lives."""
    try:
        lock = os.open(folder / supervise.LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
