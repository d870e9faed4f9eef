"""Decoding in a child process: what kills, hangs or fills a decoder costs one object, not the run."""

from __future__ import annotations

import multiprocessing
import resource
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

from components.intake.examine import CleanPhoto, examine
from components.interruption import uninterrupted
from components.photos.unusable import Reason, UnusablePhotoError

MEMORY = 4 * 2**30
"""Address space of the child, bytes. 16 million pixels of 16 bits and their copies take a tenth."""

_START_SECONDS = 120.0
"""A new process imports before it answers, which a busy machine can make long."""


class Examiner:
    """Calls `examine` in a child, which is started when it is first needed and again after it died."""

    def __init__(self, min_side: int, max_pixels: int, seconds: float) -> None:
        self._limits = (min_side, max_pixels)
        self._seconds = seconds
        self._child: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def __call__(self, data: bytes) -> CleanPhoto:
        """See `examine`.

        Raises:
            UnusablePhotoError: also where the child died of it, or took too long.
        """
        pipe = self._started()
        try:
            pipe.send_bytes(data)
            if not pipe.poll(self._seconds):
                self._stop()
                raise UnusablePhotoError(Reason.HOSTILE, f"decoding took longer than {self._seconds:g} s")
            answer: CleanPhoto | tuple[Reason, str] = pipe.recv()
        except (EOFError, ConnectionResetError, BrokenPipeError) as error:
            code = self._stop()
            raise UnusablePhotoError(Reason.HOSTILE, f"decoding ended the decoder (exit code {code})") from error
        if isinstance(answer, CleanPhoto):
            return answer
        raise UnusablePhotoError(*answer)

    def _started(self) -> Connection:
        if self._pipe is None:
            # spawn: a fork would inherit the parent's threads' locks
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._child = context.Process(target=_serve, args=(theirs, *self._limits), daemon=True)
            with uninterrupted():
                self._child.start()
            theirs.close()
            if not self._pipe.poll(_START_SECONDS):
                self._stop()
                raise RuntimeError(f"the decoder's process did not start within {_START_SECONDS:g} s")
            self._pipe.recv()
        return self._pipe

    def _stop(self) -> int | None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._child is None:
            return None
        self._child.join(0.5)
        if self._child.is_alive():
            self._child.kill()
            self._child.join()
        code, self._child = self._child.exitcode, None
        return code


def _serve(pipe: Connection, min_side: int, max_pixels: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send("ready")
    while True:
        try:
            data = pipe.recv_bytes()
        except EOFError:
            return
        try:
            pipe.send(examine(data, min_side, max_pixels))
        except UnusablePhotoError as problem:
            pipe.send((problem.reason, problem.detail))
        except MemoryError:
            pipe.send((Reason.HOSTILE, f"decoding needs more than {MEMORY // 2**20} MiB"))
        except Exception as error:  # noqa: BLE001  # a decoder's defect, found by a stranger's file, is that file's fault
            pipe.send((Reason.HOSTILE, f"decoding failed with {type(error).__name__}: {error}"))
