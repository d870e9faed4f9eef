"""The lease against a real S3 server, with real processes."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.storage.s3 import Client, Place
from flows.lease import HeldByAnotherError, Lease, LostLeaseError, holding, read_lease, take
from tests.services.s3 import bucket, s3_environment  # noqa: F401

pytestmark = pytest.mark.usefixtures("s3_environment")

CHILD = """
import sys, time
from components.storage.s3 import Place, connect
from flows.lease import HeldByAnotherError, take
try:
    lease = take(connect(), Place.parse(sys.argv[1], "lease"), "child", float(sys.argv[2]))
except HeldByAnotherError as other:
    print("held", other, flush=True)
    sys.exit(0)
print("taken", lease.held.owner, flush=True)
time.sleep(float(sys.argv[3]))
lease.release()
print("released", flush=True)
"""


def child(place: Place, tmp_path: Path, seconds: float, hold: float) -> subprocess.Popen[str]:
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    command = [sys.executable, str(script), str(place), str(seconds), str(hold)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.fixture
def place(bucket: tuple[Client, str]) -> Place:  # noqa: F811
    return Place(bucket[1], "leases/retrain/")


def test_of_two_processes_one_wins_and_the_other_says_who(place: Place, tmp_path: Path) -> None:
    started = [child(place, tmp_path, 60, 4) for _ in range(2)]
    lines = [first_line(process) for process in started]
    taken = [line for line in lines if line.startswith("taken ")]
    held = [line for line in lines if line.startswith("held ")]
    assert (len(taken), len(held)) == (1, 1), lines
    assert taken[0].split(" ", 1)[1].strip() in held[0]
    assert "until 20" in held[0]
    assert [process.wait(30) for process in started] == [0, 0]


def test_of_many_threads_one_wins(bucket: tuple[Client, str], place: Place) -> None:  # noqa: F811
    def attempt(number: int) -> Lease | str:
        try:
            return take(bucket[0], place, f"thread {number}", 60)
        except HeldByAnotherError as other:
            return other.held.what

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(attempt, range(8)))
    (winner,) = [lease for lease in found if isinstance(lease, Lease)]
    assert {text for text in found if isinstance(text, str)} == {winner.held.what}
    winner.release()
    assert read_lease(bucket[0], place)[1] is False


def test_one_that_was_killed_is_taken_over_when_it_expires_and_not_before(
    bucket: tuple[Client, str],  # noqa: F811
    place: Place,
    tmp_path: Path,
) -> None:
    process = child(place, tmp_path, 5, 600)
    assert first_line(process).startswith("taken ")
    time.sleep(6)  # longer than the lease: it is alive because it was renewed
    with pytest.raises(HeldByAnotherError):
        take(bucket[0], place, "heir", 5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(HeldByAnotherError):
        take(bucket[0], place, "heir", 5)
    deadline = time.monotonic() + 30
    while True:
        try:
            lease = take(bucket[0], place, "heir", 5)
            break
        except HeldByAnotherError:
            assert time.monotonic() < deadline
            time.sleep(0.5)
    assert lease.held.holders == 2
    lease.release()


def test_a_paused_holder_that_lost_it_stops(bucket: tuple[Client, str], place: Place) -> None:  # noqa: F811
    slow = take(bucket[0], place, "slow", 2)
    slow._ended.set()  # as if the machine slept: nothing is renewed
    slow._thread.join()
    slow.check()  # still within its time
    time.sleep(3)
    heir = take(bucket[0], place, "heir", 60)
    with pytest.raises(LostLeaseError, match="another took the lease over"):
        slow.check()
    slow.release()  # releases nothing that is not its own
    heir.check()
    assert read_lease(bucket[0], place) == (heir.held, True)
    heir.release()


def test_a_holder_that_cannot_ask_stops_and_what_fails_gives_it_back(bucket: tuple[Client, str], place: Place) -> None:  # noqa: F811
    with pytest.raises(ZeroDivisionError), holding(bucket[0], place, "work", 60):
        _ = 1 / 0
    with holding(bucket[0], place, "again", 60) as lease:
        assert lease.held.holders == 2
    lost = take(bucket[0], place, "third", 60)
    bucket[0].delete_object(Bucket=place.bucket, Key="leases/retrain")
    with pytest.raises(LostLeaseError):
        lost.check()
    lost.release()
