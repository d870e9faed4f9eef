"""Worker processes: how many, what comes back from them, and that none is left."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch

from components.errors import BadInput, DiskFull, ExitCode, OutOfMemory
from components.runtime import workers
from components.runtime.workers import Workers, free_memory, most_workers
from components.settings import Settings
from components.storage.disk import tells_of_full_disk
from tests.made import REPOSITORY, small_params
from tests.works import cannot_load, crashed, give, killed, no_room, odd, refuse, square, threads

CPU = torch.device("cpu")


def settings(count: int = 0) -> Settings:
    return Settings.model_validate(small_params() | {"run": {"workers": count}})


def do_all(load: Callable[[], Callable[[int], object]], count: int = 2) -> list[object]:
    with Workers(load, settings(count), count) as crew:
        return list(crew.each(range(4)))


def test_every_item_is_done_once_by_processes_of_their_own() -> None:
    with Workers(partial(give, square), settings(2), 2) as crew:
        found = sorted(crew.each(range(30)))
        again = sorted(crew.each(range(30)))
    assert [(number, squared) for number, squared, _ in found] == [(number, number**2) for number in range(30)]
    pids = {pid for *_, pid in found} | {pid for *_, pid in again}
    assert len(pids) <= 2
    assert os.getpid() not in pids
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_little_work_is_done_here() -> None:
    for items, chosen, most in ((15, settings(), 8), (1, settings(8), 8), (30, settings(), 1)):
        with Workers(partial(give, square), chosen, most) as crew:
            assert {pid for *_, pid in crew.each(range(items))} == {os.getpid()}


def test_what_is_loaded_here_is_used_here() -> None:
    with Workers(cannot_load, settings(), 1, here=partial(give, square)) as crew:
        assert len(list(crew.each(range(3)))) == 3


def test_one_thread_everywhere() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for count in (1, 2):
            assert set(do_all(partial(give, threads), count)) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2])
def test_bad_input_stays_bad_input(count: int) -> None:
    with pytest.raises(BadInput, match=r"^item \d is bad$"):
        do_all(partial(give, refuse), count)
    with pytest.raises(BadInput, match=r"^weights are missing$"):
        do_all(cannot_load, count)


def test_an_error_that_cannot_be_sent_comes_as_its_traceback() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)in odd.*Odd: \d: broken"):
        do_all(partial(give, odd))


def test_a_killed_worker_is_out_of_memory_and_named() -> None:
    with pytest.raises(OutOfMemory, match=r"worker process \d+ of 2 was killed \(SIGKILL\).* run.workers") as caught:
        do_all(partial(give, killed))
    assert caught.value.exit_code == ExitCode.OUT_OF_MEMORY == 128 + signal.SIGKILL


def test_a_crashed_worker_is_a_defect_and_named() -> None:
    with pytest.raises(RuntimeError, match=r"ended before its work did \(.*SIGSEGV"):
        do_all(partial(give, crashed))


PARENT = """
    import sys
    from functools import partial
    from pathlib import Path
    from components.errors import ResumeLater
    from components.runtime.workers import Workers
    from components.settings import load_settings
    from tests.works import give, slow

    if __name__ == "__main__":
        try:
            settings = load_settings(overrides=["run.workers=2"])
            with Workers(partial(give, partial(slow, Path(sys.argv[1]))), settings, 2) as crew:
                list(crew.each(range(100)))
        except ResumeLater as error:
            print(error)
            sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT))
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        until(lambda: len(list(tmp_path.glob("*.pid"))) == 2 and (tmp_path / "0.done").exists())
        if number is signal.SIGINT:
            os.killpg(parent.pid, number)  # as a terminal does
        else:
            parent.send_signal(number)
        said, errors = parent.communicate(timeout=60)
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    assert (tmp_path / "0.done").exists()
    if number is signal.SIGKILL:
        return
    assert (parent.returncode, errors) == (ExitCode.RESUME, "")
    assert said == f"stopped by {number.name}; what is finished is in the cache: run the same again\n"


def until(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 16)
    monkeypatch.setattr(workers, "free_memory", lambda: 10 * workers.MEMORY)
    assert most_workers(settings(), CPU) == 10
    assert most_workers(settings(), CPU, weights=workers.MEMORY) == 3
    assert most_workers(settings(), CPU, weights=100 * workers.MEMORY) == 1
    assert most_workers(settings(12), CPU) == 12
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    assert most_workers(settings(), CPU) == 4
    assert most_workers(settings(4), torch.device("cuda")) == 1


def test_a_containers_memory_counts(tmp_path: Path) -> None:
    machine = free_memory(tmp_path)
    assert abs(machine - psutil.virtual_memory().available) < 2**30
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert free_memory(tmp_path) == 1000 - 700 + 150  # the kernel gives pages of files back
    (tmp_path / "memory.max").write_text("max\n")
    assert abs(free_memory(tmp_path) - machine) < 2**30


def test_a_disk_that_a_worker_finds_full_is_told_here(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="No space left on device; make room"), tells_of_full_disk(tmp_path):
        do_all(partial(give, no_room))
