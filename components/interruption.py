"""Ctrl-C and SIGTERM end a program with one line and an exit code, whatever it is doing, its imports included.

Imports the standard library's small modules alone: `ends_well` stands around all other imports, which take seconds.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from components.errors import ExitCode

_IMPORTS = "<frozen importlib._bootstrap>"


class Interrupted(BaseException):
    """A signal came. No KeyboardInterrupt: click and DVC turn that one into words and exit codes of their own."""


class _Guard:
    """Handler of both signals, and what it heard.

    Attributes:
        received: the signal that ends the program; None while there is none.
    """

    def __init__(self, program: str, resumes: bool) -> None:
        self.program, self.resumes = program, resumes
        self.received: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise in the main thread; at once, without unwinding, in imports and the second time.

        Modules catch what they like while they are imported, and would go on. Nothing is half done then that a kill
        would not leave as well: all that is published is published whole.
        """
        again, self.received = self.received is not None, number
        if again or _importing(frame):
            self.tell()
            os._exit(self.exit_code)
        raise Interrupted

    @property
    def exit_code(self) -> int:
        """75 where the same command goes on from here, else as a shell says it of a signal."""
        assert self.received is not None
        return ExitCode.RESUME if self.resumes else 128 + self.received

    def tell(self) -> None:
        """One line on stderr."""
        name = signal.Signals(self.received or 0).name
        way_out = "; what is finished is kept: run the same command again" if self.resumes else ""
        print(f"{self.program}: stopped by {name}{way_out}", file=sys.stderr, flush=True)

    def unraisable(self, problem: "sys.UnraisableHookArgs") -> None:
        """An exception in a destructor or a callback goes nowhere: the signal comes once more, when that is over."""
        if isinstance(problem.exc_value, Interrupted):
            number, self.received = self.received or signal.SIGINT, None
            threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
        else:
            sys.__unraisablehook__(problem)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTS:
            return True
        frame = frame.f_back
    return False


def _handled_by(guard: _Guard) -> dict[int, Any]:
    """Let `guard` handle both signals; who handled them. One that is ignored (`nohup`, `&` in a script) stays so."""
    return {
        number: signal.signal(number, guard)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    }


@contextmanager
def ends_well(program: str, resumes: bool = False) -> Iterator[None]:
    """Around all that a program does: Ctrl-C and SIGTERM end it without a traceback.

    Who handles signals within (training, workers) takes them for as long, and gives them back.

    Args:
        program: as people know it, for the message.
        resumes: whether the same command goes on where this one stopped; the exit code is then 75, else 130 or 143.
    """
    guard = _Guard(program, resumes)
    before = _handled_by(guard)
    sys.unraisablehook, hook = guard.unraisable, sys.unraisablehook
    try:
        yield
    except BaseException:  # whatever a library made of it
        if guard.received is None:
            raise
        guard.tell()
        sys.exit(guard.exit_code)
    finally:
        sys.unraisablehook = hook
        if guard.received is None:  # else the handlers stay for the interpreter's end, which may wait for threads
            for number, handler in before.items():
                signal.signal(number, handler)


def goes_on() -> None:
    """From here on the program is one that goes on where it is stopped; within `ends_well`, else nothing happens."""
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        if isinstance(handler, _Guard):
            handler.resumes = True


def end_module_well() -> None:
    """The same for `python -m package.module`, called where its package is imported: before all that it imports.

    Does nothing where the package is imported for another reason.
    """
    if sys.argv[:1] != ["-m"]:  # as long as Python looks for the module
        return
    words = sys.orig_argv
    guard = _Guard(" ".join(words[words.index("-m") + 1 :][:1]) if "-m" in words else words[0], resumes=False)
    _handled_by(guard)
    sys.unraisablehook, told = guard.unraisable, sys.excepthook

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if guard.received is None:
            told(kind, error, trace)
            return
        guard.tell()
        sys.stdout.flush()
        os._exit(guard.exit_code)

    sys.excepthook = tell


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold SIGINT back, and keep it from processes started meanwhile for good: Ctrl-C reaches all of a terminal's."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
