"""The local launcher with real processes."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.errors import BadInput
from flows.launchers.base import Failure, Outcome, State, Work
from flows.launchers.local import LocalLauncher, gpus_here

STAGE = """
    import os, signal, subprocess, sys, time
    from pathlib import Path
    what, *rest = sys.argv[1:]
    print("began", flush=True)
    with open("begun", "a") as begun:
        begun.write("x")
    if what == "exit":
        print("ends", file=sys.stderr)
        sys.exit(int(rest[0]))
    elif what == "until":
        while not Path(rest[0]).exists():
            time.sleep(0.01)
        print("done", flush=True)
    elif what == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path("grandchild").write_text(str(child.pid))
        time.sleep(600)
    elif what == "polite":
        signal.signal(signal.SIGTERM, lambda *_: (Path("saved").touch(), sys.exit(75)))
        Path("ready").touch()
        time.sleep(600)
    elif what == "leaves-one-behind":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path("left").write_text(str(child.pid))
    elif what == "kill-itself":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "environment":
        print(os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("OURS"))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "stage.py").write_text(textwrap.dedent(STAGE))
    return tmp_path


@pytest.fixture
def launcher(project: Path) -> Iterator[LocalLauncher]:
    with LocalLauncher(project / "work", gpus=("0", "1"), grace=0.5, project=project) as made:
        yield made


def work(*command: str, shard: str = "whole", attempt: int = 0, **more: object) -> Work:
    return Work("run", "stage", shard, attempt, ("stage", *command), **more)  # type: ignore[arg-type]


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return status != "Z"


def in_thread(launcher: LocalLauncher, handle: str) -> tuple[threading.Thread, list[Outcome]]:
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(launcher.wait(handle)))
    thread.start()
    return thread, outcomes


def test_success_is_told_with_states_and_lines(launcher: LocalLauncher) -> None:
    states: list[State] = []
    lines: list[str] = []
    handle = launcher.submit(work("exit", "0"))
    assert launcher.wait(handle, states.append, lines.append) == Outcome(State.SUCCEEDED, exit_code=0)
    assert states[-1] is State.SUCCEEDED
    assert set(states[:-1]) <= {State.PENDING, State.RUNNING}
    assert lines == ["began", "ends"]
    assert list(launcher.logs(handle)) == lines


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (1, Failure.CRASHED),
        (2, Failure.BAD_INPUT),
        (3, Failure.REFUSED),
        (65, Failure.CORRUPT_INPUT),
        (75, Failure.RESUME_LATER),
        (99, Failure.CRASHED),
    ],
)
def test_an_exit_code_has_a_name(launcher: LocalLauncher, code: int, failure: Failure) -> None:
    outcome = launcher.wait(launcher.submit(work("exit", str(code))))
    assert (outcome.state, outcome.failure, outcome.exit_code) == (State.FAILED, failure, code)
    assert outcome.detail.endswith("began\nends")


def test_a_kill_from_outside_is_taken_for_the_memory_killer(launcher: LocalLauncher) -> None:
    outcome = launcher.wait(launcher.submit(work("kill-itself")))
    assert (outcome.failure, outcome.exit_code) == (Failure.OUT_OF_MEMORY, 137)


def test_lines_come_while_it_runs_and_once(launcher: LocalLauncher, project: Path) -> None:
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        if line == "began":
            (project / "go").touch()  # it ends only if the first line came before its end

    assert launcher.wait(launcher.submit(work("until", "go")), on_line=on_line).state is State.SUCCEEDED
    assert lines == ["began", "done"]


def test_submitting_again_adopts(launcher: LocalLauncher, project: Path) -> None:
    first = launcher.submit(work("until", "go"))
    until((project / "begun").exists)
    assert launcher.submit(work("until", "go")) == first
    (project / "go").touch()
    assert launcher.wait(first).state is State.SUCCEEDED
    assert launcher.wait(launcher.submit(work("until", "go"))).state is State.SUCCEEDED
    assert (project / "begun").read_text() == "x"
    assert launcher.wait(launcher.submit(work("exit", "0", attempt=1))).state is State.SUCCEEDED
    assert (project / "begun").read_text() == "xx"


FLOW = """
    import sys, time
    from pathlib import Path
    from flows.launchers.base import Work
    from flows.launchers.local import LocalLauncher
    launcher = LocalLauncher(Path("work"), gpus=("0", "1"))
    handle = launcher.submit(Work("run", "stage", "whole", 0, ("stage", *sys.argv[1:]), gpus=1))
    launcher.wait(handle)
"""


def killed_flow(project: Path, *command: str) -> None:
    """A flow of its own that submits, and is killed -9 once its work runs."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    flow = subprocess.Popen([sys.executable, "-c", textwrap.dedent(FLOW), *command], cwd=project, env=environment)
    until((project / "begun").exists, 30)
    flow.kill()
    flow.wait()


def test_a_restarted_flow_adopts_what_still_runs(project: Path, launcher: LocalLauncher) -> None:
    killed_flow(project, "until", "go")
    lines: list[str] = []
    handle = launcher.submit(work("until", "go", gpus=1))
    thread, outcomes = in_thread(launcher, handle)
    wide = launcher.submit(work("exit", "0", shard="wide", gpus=2))  # the adopted one holds a GPU of the two
    time.sleep(0.3)
    assert not outcomes
    assert (project / "begun").read_text() == "x"
    (project / "go").touch()
    assert launcher.wait(handle, on_line=lines.append).state is State.SUCCEEDED
    thread.join()
    assert launcher.wait(wide).state is State.SUCCEEDED
    assert lines in ([], ["done"])  # never "began": the flow before this one has told it
    assert (project / "begun").read_text() == "xx"


def test_a_restarted_flow_reads_how_it_ended_meanwhile(project: Path, launcher: LocalLauncher) -> None:
    killed_flow(project, "until", "go")
    (project / "go").touch()
    until(lambda: next(iter((project / "work").glob("*/exit")), None) is not None)
    assert launcher.wait(launcher.submit(work("until", "go"))).state is State.SUCCEEDED
    assert (project / "begun").read_text() == "x"


def test_what_vanished_without_an_exit_code_is_lost_and_not_run_again(project: Path, launcher: LocalLauncher) -> None:
    handle = launcher.submit(work("until", "go"))
    until((project / "begun").exists)
    os.killpg(int((project / "work" / handle / "group").read_text()), signal.SIGKILL)
    assert launcher.wait(handle).failure is Failure.LOST
    again = LocalLauncher(project / "work", gpus=(), project=project)
    assert again.wait(again.submit(work("until", "go"))).failure is Failure.LOST
    assert (project / "begun").read_text() == "x"


def test_two_launchers_at_once_run_it_once(project: Path) -> None:
    launchers = [LocalLauncher(project / "work", gpus=(), project=project) for _ in range(4)]
    handles: list[str] = []
    threads = [
        threading.Thread(target=lambda own=own: handles.append(own.submit(work("until", "go")))) for own in launchers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(handles)) == 1
    until((project / "begun").exists)
    (project / "go").touch()
    assert {own.wait(handles[0]).state for own in launchers} == {State.SUCCEEDED}
    assert (project / "begun").read_text() == "x"


def test_delete_asks_first(launcher: LocalLauncher, project: Path) -> None:
    handle = launcher.submit(work("polite"))
    thread, outcomes = in_thread(launcher, handle)
    until((project / "ready").exists)
    launcher.delete(handle)
    thread.join(10)
    assert outcomes[0].failure is Failure.CANCELLED
    assert (project / "saved").exists()
    assert not (project / "work" / handle).exists()
    launcher.delete(handle)  # gone is fine


def test_delete_kills_what_does_not_listen_with_all_its_children(launcher: LocalLauncher, project: Path) -> None:
    handle = launcher.submit(work("stubborn"))
    until(lambda: (project / "grandchild").exists() and (project / "grandchild").read_text() != "")
    began = time.monotonic()
    launcher.delete(handle)
    assert time.monotonic() - began > 0.4  # its grace time; how much longer is the machine's matter
    until(lambda: not lives(int((project / "grandchild").read_text())))


def test_what_a_command_leaves_behind_ends_with_it(launcher: LocalLauncher, project: Path) -> None:
    assert launcher.wait(launcher.submit(work("leaves-one-behind"))).state is State.SUCCEEDED
    until(lambda: not lives(int((project / "left").read_text())), 2)


def test_close_deletes_all(project: Path) -> None:
    launcher = LocalLauncher(project / "work", gpus=("0",), grace=0.3, project=project)
    running = launcher.submit(work("until", "never", gpus=1))
    queued = launcher.submit(work("until", "never", shard="queued", gpus=1))
    until((project / "begun").exists)
    group = int((project / "work" / running / "group").read_text())
    launcher.close()
    assert not lives(group)
    assert not (project / "work" / running).exists()
    assert launcher.wait(queued).failure is Failure.CANCELLED
    late = launcher.submit(work("until", "never", shard="late"))
    assert launcher.wait(late).failure is Failure.CANCELLED
    assert (project / "begun").read_text() == "x"


def test_the_run_timeout_counts_from_the_start(project: Path) -> None:
    with LocalLauncher(project / "work", gpus=(), grace=0.3, project=project, run_timeout=0.5) as launcher:
        outcome = launcher.wait(launcher.submit(work("until", "never")))
    assert outcome.failure is Failure.DEADLINE_EXCEEDED


def test_each_gets_its_own_gpus_and_the_third_waits(launcher: LocalLauncher, project: Path) -> None:
    first = launcher.submit(work("until", "go", shard="1", gpus=1))
    second = launcher.submit(work("until", "go", shard="2", gpus=1))
    third = launcher.submit(work("environment", shard="3", gpus=2, environment={"OURS": "set"}))
    states: list[State] = []
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(launcher.wait(third, states.append)))
    thread.start()
    devices = [(project / "work" / handle / "devices").read_text() for handle in (first, second)]
    assert sorted(devices) == ["0", "1"]
    until(lambda: states == [State.QUEUED])
    (project / "go").touch()
    thread.join(20)
    assert outcomes[0].state is State.SUCCEEDED
    assert "0,1 set" in list(launcher.logs(third))


def test_work_without_gpus_sees_none(launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert gpus_here() == ("5", "7")
    handle = launcher.submit(work("environment"))
    launcher.wait(handle)
    assert list(launcher.logs(handle)) == ["began", " None"]


def test_more_gpus_than_there_are_is_refused_at_once(launcher: LocalLauncher) -> None:
    with pytest.raises(BadInput, match="wants 3 GPUs and the local launcher has 2"):
        launcher.submit(work("exit", "0", gpus=3))
