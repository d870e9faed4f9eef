"""What a decoder's process may be made to do by a hostile file; asked for by name, in that process."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from components.photos.answers import NOTHING, Answer

Photo = NDArray[np.uint8]


def environment(data: bytes, photo: Photo) -> Answer:
    return {"names": sorted(os.environ), "values": " ".join(os.environ.values())}, NOTHING


def spin(data: bytes, photo: Photo) -> Answer:
    while True:
        pass


def sleep(data: bytes, photo: Photo) -> Answer:
    time.sleep(600)
    return {}, NOTHING


def fall(data: bytes, photo: Photo) -> Answer:
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}, NOTHING


def die(data: bytes, photo: Photo) -> Answer:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}, NOTHING


def fill(data: bytes, photo: Photo) -> Answer:
    kept = [np.ones(2**24, np.uint8) for _ in range(1000)]
    return {"bytes": len(kept)}, NOTHING


def chatter(data: bytes, photo: Photo) -> Answer:
    """A library that prints, and one that writes past Python."""
    print("hello" * 1000)
    os.write(1, b"x" * 100_000)
    os.write(2, b"x" * 100_000)
    sys.stdout.flush()
    return {"said": True}, NOTHING


def open_file(data: bytes, photo: Photo, path: str) -> Answer:
    try:
        with open(path, "rb") as file:
            return {"read": len(file.read(10))}, NOTHING
    except OSError as error:
        return {"refused": type(error).__name__}, NOTHING


def _ptrace(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, pid, 0, 0) != 0:  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(pid, 0x40000000)  # __WALL: before it has stopped it cannot be let go, and would stay stopped for good
    if libc.ptrace(17, pid, 0, 0) != 0:  # PTRACE_DETACH
        raise OSError(ctypes.get_errno(), "ptrace")


def _read(path: str) -> None:
    os.read(os.open(path, os.O_RDONLY), 0)


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)  # which does nothing to what runs


def _connect(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), 5).close()


def break_out(data: bytes, photo: Photo, pids: list[int], files: list[str], new: str, port: int) -> Answer:
    """What a decoder that was taken over would try; `refused`, or that it went."""

    def tried(work: Callable[[], object]) -> str:
        try:
            work()
        except OSError as error:
            return "refused" if isinstance(error, PermissionError) else repr(error)
        return "done"

    def attempts() -> dict[str, Callable[[], object]]:
        of_processes: dict[str, Callable[[], object]] = {}
        for number, pid in enumerate(pids):
            for name in ("environ", "maps", "mem"):
                of_processes[f"{name} {number}"] = lambda path=f"/proc/{pid}/{name}": _read(path)
            of_processes[f"ptrace {number}"] = lambda pid=pid: _ptrace(pid)
            of_processes[f"signal {number}"] = lambda pid=pid: _kill(pid)
        of_files: dict[str, Callable[[], object]] = {f"read {name}": lambda name=name: _read(name) for name in files}
        return of_processes | of_files | {
            "write": lambda: open(new, "wb"),
            "connect": lambda: _connect(port),
            "run": lambda: subprocess.run(["/bin/true"], check=True, timeout=300),
        }  # fmt: skip

    return {name: tried(work) for name, work in attempts().items()}, NOTHING
