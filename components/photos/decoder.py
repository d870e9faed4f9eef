"""One decoder's process, as its parent sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fcntl import fcntl
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.interruption import uninterrupted
from components.photos import wire
from components.photos.confinement import hide
from components.photos.limits import Limits
from components.photos.unusable import Reason, UnusablePhotoError, printable

START_SECONDS = 120.0
"""A new process imports before it answers, which a busy machine can make long."""
KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Variables that a child inherits: how programs and libraries are found, and nothing else."""

_START = "from importlib import import_module; import_module('components.photos.child').start"
_SET_PIPE_SIZE, _PIPE_BYTES = 1031, 2**20
_MOST_NOTES = 20
BYTES_OF_A_PIXEL = 8
"""Of an answer: colours and alpha, of 16 bits."""


@dataclass(frozen=True)
class Answer:
    """Of a decoder: values and pixels as its function gives them, and log lines."""

    values: dict[str, Any]
    pixels: NDArray[np.uint8]
    notes: list[str] = field(default_factory=list)


class Decoder:
    """A process that answers one request after the other.

    Args:
        functions: `module:name` of those that may be asked for.
        limits: of each picture.

    Raises:
        RuntimeError: it does not start.
    """

    def __init__(self, functions: tuple[str, ...], limits: Limits) -> None:
        self._limits = limits
        arguments = json.dumps({"most_bytes": limits.max_bytes, "functions": functions})
        with tempfile.TemporaryFile() as said:
            with uninterrupted():
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", f"{_START}({arguments!r})"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    cwd="/",
                    env=environment(),
                )
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._requests, self._answers = self._process.stdin, self._process.stdout
            for pipe in (self._requests, self._answers):
                with suppress(OSError):  # larger pipes are quicker; not every system has them
                    fcntl(pipe.fileno(), _SET_PIPE_SIZE, _PIPE_BYTES)
            with self._limited(START_SECONDS):
                ready = wire.receive(self._answers, 0)
            if ready is None:
                self.end(at_once=True)
                said.seek(0)
                raise RuntimeError(f"a decoder's process does not start: {said.read().decode(errors='replace')}")
            if ready[0].get("confined") is not True:
                hide()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ask(self, header: dict[str, Any], data: bytes) -> Answer:
        """What the function that `header` names makes of a file.

        Raises:
            UnusablePhotoError: the file cannot be used; where the decoder `ended`, it has to be replaced.
        """
        longest = self._limits.longest_wait
        with self._limited(longest) as late:
            try:
                wire.send(self._requests, header, data)
                message = wire.receive(self._answers, self._limits.max_pixels * BYTES_OF_A_PIXEL)
                answer = None if message is None else _parsed(*message)
            except (wire.WireError, OSError):
                answer = None
        if answer is not None:
            return answer
        self.end(at_once=late.is_set())
        raise UnusablePhotoError(
            Reason.HOSTILE, f"decoding took longer than {longest:g} s" if late.is_set() else self._fate()
        )

    @contextmanager
    def _limited(self, seconds: float) -> Iterator[threading.Event]:
        """End the process after so long, which ends whatever waits for it; the event says that it came to that."""
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()

    def _fate(self) -> str:
        code = self._process.returncode
        if code == -signal.SIGXCPU:
            return f"decoding took longer than {self._limits.seconds:g} s of processor time"
        if code == -signal.SIGKILL:
            return "decoding ended the decoder: it was killed, as the kernel does when memory runs out"
        return f"decoding ended the decoder ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"

    @property
    def ended(self) -> bool:
        """True once there is no process any more."""
        return self._process.poll() is not None

    def end(self, at_once: bool = False) -> None:
        """End the process: without more requests it ends by itself."""
        if at_once:
            self._process.kill()
        for pipe in (self._requests, self._answers):
            with suppress(OSError):
                pipe.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def environment() -> dict[str, str]:
    """A child's variables: where code is found, and no password, token or address."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    # An installation in place, a test and a notebook find this project through their own search path.
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each takes address space for its threads
    return kept | threads | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}


def _parsed(header: dict[str, Any], body: bytearray) -> Answer:
    """The answer that a message is.

    Raises:
        UnusablePhotoError: the message says that the file cannot be used, and why.
        WireError: it is none.
    """
    try:
        if "reason" in header:
            raise UnusablePhotoError(Reason(header["reason"]), str(header.get("detail")))
        shape = [int(side) for side in header["shape"]]
        if min(shape, default=0) < 0:
            raise ValueError("a negative side")
        pixels = np.frombuffer(body, np.uint8).reshape(shape)
        notes = [printable(str(note)) for note in list(header["notes"])[:_MOST_NOTES]]
        return Answer(dict(header["values"]), pixels, notes)
    except (KeyError, TypeError, ValueError, OverflowError) as error:  # JSON has Infinity here
        raise wire.WireError("an answer that is none") from error
