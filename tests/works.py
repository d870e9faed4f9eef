"""What workers do in tests: a module of its own, as each of them imports it, and torch would take seconds."""

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from components.errors import BadInput

Item = TypeVar("Item")


class Odd(Exception):
    """As many libraries have them: what `pickle` makes of it cannot be read again."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


def square(number: int) -> tuple[int, int, int]:
    return number, number * number, os.getpid()


def threads(number: int) -> int:
    import torch  # noqa: PLC0415

    return torch.get_num_threads()


def refuse(number: int) -> int:
    raise BadInput(f"item {number} is bad")


def odd(number: int) -> int:
    raise Odd(number, "broken")


def no_room(number: int) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def killed(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def crashed(number: int) -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return number


Fate = tuple[int, str]
"""A number, and how the process ends that gets it: a signal's name, `exit`, or nothing."""


def fate(item: Fate) -> int:
    _, end = item
    if end == "exit":
        os._exit(3)
    if end:
        os.kill(os.getpid(), signal.Signals[end])
    return os.getpid()


def give(work: Callable[[Item], object]) -> Callable[[Item], object]:
    return work


def cannot_load() -> Callable[[int], object]:
    raise BadInput("weights are missing")


def slow(folder: Path, number: int) -> int:
    """Says who works, and what is finished: the first at once, the others after a minute."""
    (folder / f"{os.getpid()}.pid").touch()
    time.sleep(0 if number == 0 else 60)
    (folder / f"{number}.done").touch()
    return number
