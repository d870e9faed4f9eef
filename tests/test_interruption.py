"""Ctrl-C ends everything as SIGTERM does, whenever it comes: no traceback, and an exit code that says what to do.

The moment is an event, never a time: a module that is about to be imported, or a file that the work makes. The signal
goes to the whole process group, as a terminal sends it.
"""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from components.cli import RESUMABLE
from components.errors import ExitCode
from components.stages import STAGES
from tests.made import REPOSITORY

HOOK = """
import os, signal, sys

class Interrupt:
    name, number = os.environ.get("INTERRUPT_AT"), int(os.environ.get("INTERRUPT_BY", "2"))

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            self.name = None
            os.killpg(0, self.number)

sys.meta_path.insert(0, Interrupt())
"""
"""A sitecustomize.py that interrupts the group when a module is looked for."""


def interrupted(folder: Path, command: list[str], at: str, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
    """Exit code and stderr of `python …`, interrupted when it looks for the module `at`."""
    (folder / "hook").mkdir(exist_ok=True)
    (folder / "hook/sitecustomize.py").write_text(HOOK)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder / "hook"), str(REPOSITORY)]),
        "INTERRUPT_AT": at,
        "INTERRUPT_BY": str(int(number)),
    }
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        timeout=300,
    )
    return done.returncode, done.stderr


CLI = ["-c", "import sys; from components.cli import main; sys.exit(main())"]


@pytest.mark.parametrize(
    ("command", "at", "code", "said"),
    [
        ([*CLI, "plan"], "typer", 130, "dp2o plan: stopped by SIGINT\n"),
        ([*CLI, "plan"], "pydantic", 130, "dp2o plan: stopped by SIGINT\n"),
        ([*CLI, "run"], "dvc.cli", 75, "dp2o run: stopped by SIGINT; what is finished is kept"),
        ([*CLI, "upscale", "x.png"], "components.upscale.picture", 130, "dp2o upscale: stopped by SIGINT\n"),
        (["-m", "components.train"], "numpy", 75, "dp2o train: stopped by SIGINT; what is finished is kept"),
        (["-m", "components.monitor"], "typer", 130, "dp2o monitor: stopped by SIGINT\n"),
        (["-m", "recipes.tiny_flow"], "torch", 130, "recipes.tiny_flow: stopped by SIGINT\n"),
    ],
)
def test_an_interrupt_while_modules_are_imported(
    tmp_path: Path, command: list[str], at: str, code: int, said: str
) -> None:
    (tmp_path / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    found, errors = interrupted(tmp_path, command, at)
    assert found == code, errors
    assert errors.startswith(said)
    assert errors.count("\n") == 1, errors


def test_sigterm_is_told_as_such(tmp_path: Path) -> None:
    assert interrupted(tmp_path, [*CLI, "plan"], "pydantic", signal.SIGTERM) == (
        143,
        "dp2o plan: stopped by SIGTERM\n",
    )


def test_what_goes_on_where_it_stopped_is_known_before_imports() -> None:
    assert {"run", *STAGES} == RESUMABLE


WORK = """
    import os, signal, sys, threading, weakref
    from components.interruption import ends_well

    def press():
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass

    def swallowed():
        try:
            press()
        except Exception:
            pass

    def translated():
        try:
            press()
        except BaseException as error:
            raise ValueError("a library's own words") from error

    def collected():
        class Thing:
            def __del__(self):
                press()
        Thing()
        threading.Event().wait(60)

    def twice():
        try:
            press()
        finally:
            press()
            threading.Event().wait(60)

    def undisturbed():
        signal.signal(signal.SIGINT, lambda *_: sys.exit(75))
        press()

    with ends_well("work", resumes=sys.argv[1] == "twice"):
        globals()[sys.argv[1]]()
    print("went on")
"""


@pytest.mark.parametrize(
    ("way", "code", "said"),
    [
        ("swallowed", 130, "work: stopped by SIGINT\n"),
        ("translated", 130, "work: stopped by SIGINT\n"),
        ("collected", 130, "work: stopped by SIGINT\n"),
        ("twice", 75, "work: stopped by SIGINT; what is finished is kept: run the same command again\n"),
        ("undisturbed", 75, ""),
    ],
)
def test_whatever_it_meets(tmp_path: Path, way: str, code: int, said: str) -> None:
    (tmp_path / "work.py").write_text(textwrap.dedent(WORK))
    done = subprocess.run(
        [sys.executable, "work.py", way],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(textwrap.dedent(WORK))
    run = f"os.execv({sys.executable!r}, ['python', 'work.py', 'swallowed'])"
    ignoring = f"import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {run}"
    done = subprocess.run(
        [sys.executable, "-c", ignoring],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "went on\n")


PIPELINE = """
stages:
  slow: {cmd: python slow.py, deps: [slow.py]}
"""
SLOW = """
import os, signal, threading
from components.interruption import ends_well
with ends_well("dp2o slow", resumes=True):
    os.killpg(0, signal.SIGINT)
    threading.Event().wait(60)
"""


def test_ctrl_c_in_a_stage_ends_the_run_once_the_stage_has_ended(tmp_path: Path) -> None:
    """Through a shell that would not wait for it."""
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "slow.py").write_text(SLOW)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=tmp_path, check=True, timeout=300)
    done = subprocess.run(
        [sys.executable, *CLI, "run"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "SHELL": "/bin/sh"},
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        timeout=300,
    )
    assert done.returncode == ExitCode.RESUME, done.stderr
    assert "dp2o slow: stopped by SIGINT; what is finished is kept" in done.stderr
    assert "Traceback" not in done.stderr
