"""A decoder that was taken over: what it tries to reach, and that it still decodes everything where it is shut in."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from components.photos import confinement, decoder
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from tests.made import REPOSITORY
from tests.photos.test_reader import photo

LIMITS = Limits(max_pixels=1_000_000, max_bytes=1_000_000, seconds=300.0)  # none of these tests is about time
BREAK_OUT = "tests.photos.functions:break_out"

IN_A_CHILD = "import sys; from components.photos.confinement import confine; print(confine(sys.argv[1:]))"


def landlock() -> bool:
    """Whether this kernel lets a process confine itself; asked in another one, as there is no way back."""
    done = subprocess.run(
        [sys.executable, "-c", IN_A_CHILD], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=300
    )
    return done.stdout.strip() == "True"


needs_landlock = pytest.mark.skipif(not landlock(), reason="this kernel has no Landlock: confinement is NOT tested")


@needs_landlock
def test_a_decoder_that_was_taken_over_reaches_nothing_of_its_user(tmp_path: Path) -> None:
    """Not its parent, nor another process with the same credentials, as the shell that started it; and as root."""
    secret = tmp_path / "credentials"
    secret.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server, PhotoReader(LIMITS, 1, (BREAK_OUT,)) as reader:
        other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        try:
            files = [str(secret), str(Path.home()), str(REPOSITORY / "params.yaml"), "/etc/passwd"]
            reached = {"files": files, "new": str(tmp_path / "broken-out"), "port": server.getsockname()[1]}
            arguments = {"pids": [os.getpid(), other.pid], **reached}
            found = reader.call(BREAK_OUT, photo(), "", 1, **arguments).values
        finally:
            other.kill()  # ptrace may have left it stopped
            other.wait(60)
    expected = {*(f"{what} {n}" for what in ("environ", "maps", "mem", "ptrace", "signal") for n in range(2))}
    expected |= {*(f"read {name}" for name in files), "write", "connect", "run"}
    assert found == dict.fromkeys(expected, "refused")


@needs_landlock
def test_without_it_the_same_decoder_reaches_all_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So that the test above cannot pass because of something else."""
    unconfined = "from components.photos import child; child.confine = lambda readable: False; child.start"
    monkeypatch.setattr(decoder, "_START", unconfined)
    monkeypatch.setattr(decoder, "hide", lambda: None)
    new = tmp_path / "broken-out"  # of this test alone: others may run beside it on this machine
    with socket.create_server(("127.0.0.1", 0)) as server, PhotoReader(LIMITS, 1, (BREAK_OUT,)) as reader:
        other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        try:
            reached = {"files": ["/etc/passwd"], "new": str(new), "port": server.getsockname()[1]}
            arguments = {"pids": [other.pid], **reached}
            found = reader.call(BREAK_OUT, photo(), "", 1, **arguments).values
        finally:
            other.kill()  # ptrace may have left it stopped
            other.wait(60)
    assert found["environ 0"] == found["signal 0"] == found["read /etc/passwd"] == found["connect"] == "done"
    assert new.exists()


def test_where_a_decoder_is_not_confined_its_parent_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a kernel without Landlock, or in a container whose profile refuses the call."""
    hidden = []
    monkeypatch.setattr(decoder, "hide", lambda: hidden.append(True))
    with PhotoReader(LIMITS, 1) as reader:
        reader.pixels(photo())
    assert len(hidden) == (0 if landlock() else 1)
    unconfined = "from components.photos import child; child.confine = lambda readable: False; child.start"
    monkeypatch.setattr(decoder, "_START", unconfined)
    hidden.clear()
    with PhotoReader(LIMITS, 1) as reader:
        reader.pixels(photo())
    assert hidden == [True]


HIDDEN = """
import ctypes, os, sys
from components.photos.confinement import hide
if os.geteuid() == 0:  # who is root reads everything: as somebody else
    os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # a change of user hides as well
def read():
    parent = os.getpid()
    if (child := os.fork()) == 0:
        try:
            open(f"/proc/{parent}/environ", "rb").read()
        except PermissionError:
            os._exit(7)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
before = read()
hide()
print(before, read())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can")
def test_who_hides_is_not_read_by_a_process_of_the_same_user() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.split() == ["0", "7"]


def test_where_the_kernel_has_no_such_thing_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement.sys, "platform", "darwin")
    assert confinement.confine(["/"]) is False
    confinement.hide()
