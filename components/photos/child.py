"""A decoder's process: reads a request, decodes, answers, and waits for the next one. `PhotoReader` starts it.

It holds itself to limits of memory and processor time, gives up all rights that decoding does not need, and keeps what
decoders print from its answers.
"""

from __future__ import annotations

import json
import logging
import math
import os
import pkgutil
import resource
import signal
import sysconfig
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import PIL

from components.photos import tiff, wire
from components.photos.answers import Answer
from components.photos.confinement import LIBRARIES, confine
from components.photos.reading import read_photo
from components.photos.unusable import LONGEST_DETAIL, Reason, UnusablePhotoError, printable

MOST_NOTES = 20
"""Log lines of one photo that are passed on."""


class _Notes(logging.Handler):
    """Log lines of the present request; they are logged where the photo's name is known."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.lines) < MOST_NOTES:
            self.lines.append(printable(record.getMessage()[:LONGEST_DETAIL]))


def main(most_bytes: int, functions: list[str]) -> None:
    """Answer requests on standard input until it ends.

    Args:
        most_bytes: of a file.
        functions: `module:name` of those that may be asked for.
    """
    # Ctrl-C, and what `timeout`, systemd and a closed terminal send to all processes at once, is the parent's to
    # answer: it closes our input. The picture that was being decoded would be taken for the cause of our end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):  # what a decoder prints must not stand among the answers
        os.dup2(nothing, standard)
    cv2.setNumThreads(1)
    tiff.preload()
    known = {name: pkgutil.resolve_name(name) for name in functions}
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    notes = _Notes()
    logging.getLogger("dp2o.photos").addHandler(notes)
    with suppress(OSError):
        _statm()
    wire.send(answers, {"ready": True, "confined": confine((*_code(), *LIBRARIES, os.devnull))})
    while (request := wire.receive(requests, most_bytes)) is not None:
        header, data = request
        notes.lines = []
        _answer(answers, known, header, bytes(data), notes)


def _answer(
    answers: BinaryIO,
    known: dict[str, Callable[..., Answer]],
    header: dict[str, Any],
    data: bytes,
    notes: _Notes,
) -> None:
    memory = int(header["memory"])
    try:
        limit_memory(memory)
        _limit_time(float(header["seconds"]))
        photo = read_photo(data, header["min_side"], header["max_pixels"])
        values, pixels = known[header["function"]](data, photo, **header["arguments"])
        body = np.ascontiguousarray(pixels).reshape(-1).data if pixels.size else b""
        wire.send(answers, {"values": values, "shape": pixels.shape, "notes": notes.lines}, body)
    except UnusablePhotoError as problem:
        wire.send(answers, {"reason": problem.reason, "detail": problem.detail, "notes": notes.lines})
    except MemoryError:
        detail = f"decoding needs more than {memory // 2**20} MiB, which no picture of its size does"
        wire.send(answers, {"reason": Reason.HOSTILE, "detail": detail})
    except Exception as error:  # noqa: BLE001  # a decoder's defect, found by a stranger's file, is that file's fault
        detail = f"decoding failed with {type(error).__name__}: {error}"
        wire.send(answers, {"reason": Reason.HOSTILE, "detail": printable(detail[:LONGEST_DETAIL])})


def limit_memory(more: int) -> None:
    """Let this process take `more` bytes of address space than it has now, where the system can hold it to that."""
    with suppress(ValueError, OSError):  # macOS has no such limit, Linux the numbers
        pages = _used_pages()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


@lru_cache(maxsize=1)
def _statm() -> int:
    """The open file in which Linux says how much memory we have; a confined process could not open it again."""
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


def _used_pages() -> int:
    """Raises OSError where there is no such file."""
    return int(os.pread(_statm(), 100, 0).split()[0])


def _code() -> list[Path]:
    """Folders of modules that may be imported late: Python's own, those that decode, and this project's."""
    python = {Path(path) for name, path in sysconfig.get_paths().items() if name.endswith("stdlib")}
    return [*python, *{Path(str(module.__file__)).parents[1] for module in (np, PIL, cv2)}, Path(__file__).parents[1]]


def _limit_time(seconds: float) -> None:
    """Let the kernel end this process after so many more seconds of processor time; of waiting it knows nothing."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    end = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (end if hard == resource.RLIM_INFINITY else min(end, hard), hard))


def start(arguments: str) -> None:
    """`main` with its arguments in JSON, as a command line holds them."""
    main(**json.loads(arguments))
