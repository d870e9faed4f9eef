"""Progress on stderr: a bar where that is a terminal, else a line a minute, so that logs stay readable."""

import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

SECONDS_A_LINE = 60.0
"""Off a terminal; `TQDM_MININTERVAL` sets another number. What ends sooner says nothing."""


class _Lines:
    """A file to which a bar, which is drawn over and over, is written as lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line:
            self._stream.write(line + "\n")

    def flush(self) -> None:
        self._stream.flush()


def progress(items: Iterable[Item], **options: Any) -> Iterable[Item]:
    """`items`, counted as they come; see `counter`."""
    return counter(iterable=items, **options)


def counter(**options: Any) -> "tqdm[Any]":
    """`tqdm(**options)`, drawn as this process's stderr can show it."""
    if sys.stderr.isatty():
        return tqdm(**options)
    seconds = float(os.environ.get("TQDM_MININTERVAL") or SECONDS_A_LINE)
    lines = {"mininterval": seconds, "maxinterval": max(seconds, 1.0), "delay": seconds, "miniters": 1, "leave": True}
    return tqdm(**options | lines, file=_Lines(sys.stderr))
