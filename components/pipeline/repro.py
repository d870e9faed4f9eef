"""The local pipeline as DVC runs it."""

import logging
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

from components.errors import BadInput, ExitCode, tell
from components.storage.disk import full_disk, unwritable
from components.storage.dvc_inputs import hash_what_can_be_read

_STATUS = re.compile(r"exited with (-?\d+)$")
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "fish"})


class _StageExit(logging.Handler):
    """Catches the exit status of a failed stage, which DVC only logs: its own exit code is 255 whatever happened."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.status: int | None = None
        self.known_error = False
        self.disk: BadInput | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Look through the chain of causes."""
        from dvc.exceptions import DvcException  # noqa: PLC0415

        error = record.exc_info[1] if record.exc_info else None
        while error is not None:
            self.known_error = self.known_error or isinstance(error, DvcException)
            found = _STATUS.search(str(error))
            if found:
                self.status = int(found[1])
            if (told := full_disk(error, Path.cwd()) or unwritable(error, Path.cwd())) is not None:
                self.disk = told
            error = error.__cause__ or error.__context__


def reproduce(arguments: list[str]) -> int:
    """`dvc repro` with these arguments, in this process; returns the failed stage's own exit code where one failed.

    SIGTERM is passed on to the running stage, which saves its state and says "resume later"; so then do we. Ctrl-C
    reaches it from the terminal. A stage killed by signal n counts as 128 + n, as in a shell.
    """
    # Stages are started as `python -m …`: with this environment's python, activated or not.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.environ["DVC_NO_ANALYTICS"] = "true"
    # DVC starts a stage through $SHELL. Ctrl-C ends dash at once, while the stage under it still saves its state.
    if Path(os.environ.get("SHELL") or "/bin/sh").name in {"sh", "dash"} and (bash := shutil.which("bash")):
        os.environ["SHELL"] = bash
    from dvc.cli import main as dvc_main  # noqa: PLC0415

    hash_what_can_be_read()
    watch = _StageExit()
    dvc_logger = logging.getLogger("dvc")
    dvc_logger.addHandler(watch)
    try:
        with _terminate_stage() as stopped:
            returned = int(dvc_main(["repro", *arguments]))
    finally:
        dvc_logger.removeHandler(watch)
    if returned == 0:
        return ExitCode.OK
    if watch.status is not None and watch.status != 0:
        return watch.status if watch.status > 0 else 128 - watch.status
    if watch.disk is not None:  # of DVC's own cache: a stage would have told it itself
        return tell("dp2o run", watch.disk)
    if stopped:
        name = signal.Signals(stopped[0]).name
        print(f"dp2o run: stopped by {name}; what is finished is kept: run the same command again", file=sys.stderr)
        return ExitCode.RESUME
    return ExitCode.BAD_INPUT if watch.known_error else ExitCode.CRASHED


@contextmanager
def _terminate_stage() -> Iterator[list[int]]:
    """Pass SIGTERM on to the stage's process, or interrupt DVC between stages; yields the list of those received.

    While a stage runs DVC ignores SIGINT; what comes here came between two.
    """
    stopped: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        stopped.append(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        running = [process for process in psutil.Process().children() if process.is_running()]
        stages = [
            inner for process in running for inner in (process.children() if process.name() in _SHELLS else [process])
        ]
        for stage in stages:
            stage.send_signal(number)
        if not stages:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_repository(root: Path) -> None:
    """Refuse a project of DVC without git, as a downloaded ZIP is one.

    Raises:
        BadInput: that is so; says what makes it one.
    """
    folder = root.resolve()
    config = folder / ".dvc/config"
    if not config.is_file() or re.search(r"^\s*no_scm\s*=\s*true", config.read_text(), re.IGNORECASE | re.MULTILINE):
        return
    if not any((place / ".git").exists() for place in (folder, *folder.parents)):
        raise BadInput(
            f"{folder} is no git repository, as a downloaded ZIP is none, and DVC needs one. Either clone it instead, "
            "or make it one here, and run the same again:\n"
            '  git init && git add -A && git commit -m "as downloaded"'
        )
