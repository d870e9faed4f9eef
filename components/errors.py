"""Errors a user can act on, and the exit codes every command shares."""

import sys
from enum import IntEnum
from typing import ClassVar

from components.redaction import redacted


class ExitCode(IntEnum):
    """Exit codes of `dp2o` and of `python -m components.<stage>`.

    A launcher decides by these alone whether to try again, so they are part of the contract.
    """

    OK = 0
    CRASHED = 1  # a defect of ours: the traceback is printed
    BAD_INPUT = 2  # settings or data must change first; trying again cannot help
    REFUSED = 3  # nothing is wrong, and the gate said no or waits for an approval: the report says which
    CORRUPT_INPUT = 65  # an object of the store is not what its name says: it was set aside; make it again (EX_DATAERR)
    RESUME = 75  # stopped on request (SIGTERM, Ctrl-C) with everything saved: run the same command again (EX_TEMPFAIL)
    OUT_OF_MEMORY = 137  # a worker was killed, as the kernel does when memory runs out; what a shell says of SIGKILL


class UserError(Exception):
    """What somebody can act on: it is told in one message, without a traceback, and ends the process with its code."""

    exit_code: ClassVar[ExitCode]

    def __init__(self, *texts: object) -> None:
        # What a server or a program said may have the URL in it that it was called by.
        super().__init__(*(redacted(text) if isinstance(text, str) else text for text in texts))


class BadInput(UserError):
    """Settings or data that cannot work; the message names what, where, and the way out."""

    exit_code = ExitCode.BAD_INPUT


class Diverged(BadInput):
    """A training that went astray; the message says how, and what to change."""


class DiskFull(BadInput):
    """A disk takes no more; the message names what was being written, and what may be removed."""


class HistoryBroken(BadInput):
    """The history of promotions is not what it was: somebody must look, and nothing is promoted until then."""


class CorruptInput(UserError):
    """An object of a store is not what its name says; it was set aside, so that it can be made again."""

    exit_code = ExitCode.CORRUPT_INPUT


class ResumeLater(UserError):
    """The stage was asked to stop, saved its state, and continues when it is run again."""

    exit_code = ExitCode.RESUME


class OutOfMemory(UserError):
    """A process that worked for this one was killed, as the kernel does when memory runs out."""

    exit_code = ExitCode.OUT_OF_MEMORY


def tell(command: str, error: UserError) -> ExitCode:
    """Say on stderr what stopped `command`; the exit code that goes with it."""
    print(f"{command}: {error}", file=sys.stderr)
    return error.exit_code
