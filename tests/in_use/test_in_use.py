"""Who works, and who removes: neither under the other, on one machine and across machines."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from components.errors import ResumeLater
from components.in_use.folder import alone, in_use, is_in_use
from components.in_use.store import REMOVES, SECONDS, USE, removing, users, using
from components.storage.store import Store

HOLDER = """
import sys, time
from pathlib import Path
from components.in_use.folder import in_use
with in_use(Path(sys.argv[1]), Path(sys.argv[1]) / "cache"):
    print("working", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "cache").mkdir()
    return tmp_path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/store")


def test_nothing_is_removed_while_another_process_works_and_a_killed_one_is_no_hindrance(root: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(root)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "working\n"
        assert is_in_use(root, root / "cache")
        with pytest.raises(ResumeLater, match=r"a run is at work .*nothing is removed"), alone(root, root / "cache"):
            pytest.fail("somebody works")
        child.kill()
    assert not is_in_use(root, root / "cache")


def test_the_cache_alone_is_enough_to_meet_in(root: Path, tmp_path: Path) -> None:
    """A task works in a folder of its own, with the project's cache."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    with in_use(workspace, root / "cache"), pytest.raises(ResumeLater), alone(root, root / "cache"):
        pytest.fail("somebody works")


def test_who_begins_while_things_are_removed_waits(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    began = threading.Event()

    def work() -> None:
        with in_use(root, root / "cache"):
            began.set()

    thread = threading.Thread(target=work)
    with alone(root, root / "cache"):
        thread.start()
        assert not began.wait(0.3)
    assert began.wait(5)
    thread.join()
    assert "waits for `dp2o gc`" in caplog.text


def test_several_work_at_once(root: Path) -> None:
    with in_use(root, root / "cache"), in_use(root, root / "cache"):
        assert is_in_use(root, root / "cache")


def test_a_run_keeps_the_store_and_leaves_nothing_behind(store: Store) -> None:
    with using(store, "align/blue"):
        assert users(store) == ["align/blue"]
        with pytest.raises(ResumeLater, match=r"align/blue works with"), removing(store, "gc"):
            pytest.fail("a run is at work")
        assert store.read(REMOVES) is None
    assert users(store) == []
    assert store.names(USE) == []
    with removing(store, "gc"):
        with pytest.raises(ResumeLater, match="gc removes things"), removing(store, "another"):
            pytest.fail("one at a time")
        assert store.read(REMOVES) is not None
    assert store.read(REMOVES) is None


def test_a_run_that_begins_waits_until_things_are_removed(store: Store) -> None:
    began = threading.Event()

    def work() -> None:
        with using(store, "align/red", pause=0.01):
            began.set()

    thread = threading.Thread(target=work)
    with removing(store, "gc"):
        thread.start()
        assert not began.wait(0.3)
    assert began.wait(5)
    thread.join()


def test_who_died_is_in_nobodys_way_when_the_lease_is_over(store: Store) -> None:
    now = time.time()
    store.write(f"{USE}/dead.json", {"who": "align/dead", "token": "x", "expires": now + SECONDS})
    store.write(REMOVES, {"who": "a dead gc", "token": "y", "expires": now + SECONDS})
    later = lambda: now + SECONDS + 1  # noqa: E731
    assert users(store) == ["align/dead"]
    assert users(store, later) == []
    with removing(store, "gc", later):
        assert (store.read(REMOVES) or {})["who"] == "gc"
    with using(store, "align/new", later):
        assert users(store, later) == ["align/new"]
