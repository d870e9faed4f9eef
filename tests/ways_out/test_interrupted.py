"""Ctrl-C in the middle of a stage's work: one line, exit code 75, nothing half-written, and the same command makes the
same bytes. While modules are imported, and in a shell: tests/test_interruption.py."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from components.entry.main import run_stage
from components.errors import ExitCode
from components.interruption import ends_well
from tests.ways_out.outputs import Unmade

pytestmark = pytest.mark.slow
SYNC = "components.storage.publish._sync"
"""What is published goes through it."""


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    """`ends_well` leaves its handlers to a process that is ending."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _typed(stage: str, root: Path) -> ExitCode:
    try:
        with ends_well(f"dp2o {stage}", resumes=True):
            return run_stage(stage, root / "params.yaml")
    except SystemExit as ended:
        return ExitCode(ended.code or 0)


def _pressed(monkeypatch: pytest.MonkeyPatch, place: str, call: int) -> list[int]:
    """Press Ctrl-C when the function at `place` is called for the `call`-th time; what has been pressed."""
    function: Callable[..., Any] = resolve_name(place)
    calls, pressed = [0], []

    def wrapped(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            pressed.append(call)
            os.kill(os.getpid(), signal.SIGINT)
        return function(*arguments, **named)

    monkeypatch.setattr(place, wrapped)
    return pressed


@pytest.mark.parametrize(
    ("stage", "place", "call"),
    [
        ("prepare", SYNC, 1),
        ("prepare", SYNC, 4),
        ("generate", SYNC, 2),
        ("score", SYNC, 2),
        ("pair", SYNC, 3),
        ("train", "components.train.trainer.Trainer._step", 1),
        ("train", SYNC, 6),  # when the model is published: who stops the last step gets a finished training
        ("evaluate", SYNC, 3),
        ("report", SYNC, 3),
        ("register", "mlflow.pyfunc.log_model", 1),
        ("register", SYNC, 1),
    ],
)
def test_a_stage_goes_on_to_the_same_bytes(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    stage: str,
    place: str,
    call: int,
) -> None:
    project = Unmade.of(finished, tmp_path / "project", stage)
    with monkeypatch.context() as patch:
        pressed = _pressed(patch, place, call)
        code = _typed(stage, project.root)
    said = capfd.readouterr().err
    assert pressed == [call]
    assert code is ExitCode.RESUME, said
    assert "Traceback" not in said
    assert said.count(f"dp2o {stage}: ") == 1, said
    project.has_no_halves()
    assert _typed(stage, project.root) is ExitCode.OK, capfd.readouterr().err
    project.is_as_finished()
