"""Whether work that failed is tried again, and how: a pure function of what happened to it so far."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from flows.launchers.base import Failure, Outcome, WorkFailedError
from flows.reporter import Reporter

UNCOUNTED = {Failure.EVICTED: 50, Failure.LOST: 10, Failure.RESUME_LATER: 200}
"""Tried again without being counted as a failure, so many times: the work itself did nothing wrong."""
OUT_OF_MEMORY_RETRIES = 1
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0


@dataclass(frozen=True)
class Attempt:
    """The next try.

    Attributes:
        number: from 0.
        halvings: how many times the batches are halved.
        pause: seconds before it.
    """

    number: int = 0
    halvings: int = 0
    pause: float = 0.0


def following(failures: Sequence[Failure], crash_retries: int = 1) -> Attempt | None:
    """The attempt after these failures, in their order; None when it is time to give up.

    Evictions, Jobs that others deleted, and work that asks to be resumed are not counted. Too little memory is tried
    once more with half the batches, a crash `crash_retries` times. All else cannot get better by itself.
    """
    if not failures:
        return Attempt()
    last, counts = failures[-1], Counter(failures)
    halvings = counts[Failure.OUT_OF_MEMORY]
    if last in UNCOUNTED:
        again = counts[last] <= UNCOUNTED[last]
    elif last is Failure.OUT_OF_MEMORY:
        again = halvings <= OUT_OF_MEMORY_RETRIES
    elif last is Failure.CRASHED:
        again = counts[last] <= crash_retries
    else:
        again = False
    if not again:
        return None
    same = 0
    for failure in reversed(failures):
        if failure is not last:
            break
        same += 1
    pause = 0.0 if last is Failure.OUT_OF_MEMORY else min(FIRST_PAUSE * 2 ** (same - 1), LONGEST_PAUSE)
    return Attempt(len(failures), halvings, pause)


@dataclass
class Attempts:
    """The tries of one piece of work, a stage's or the gate's.

    Attributes:
        what: the work, for people.
        report: told of every failure.
        crash_retries: how often it is tried again after a crash.
        sleep: waits so many seconds.
        attempt: the present one.
    """

    what: str
    report: Reporter
    crash_retries: int = 1
    sleep: Callable[[float], None] = time.sleep
    attempt: Attempt = field(default_factory=Attempt)
    _failures: list[Failure] = field(default_factory=list)

    def failed(self, outcome: Outcome) -> None:
        """Take note of how the present attempt failed, and wait for the next.

        Raises:
            WorkFailedError: there is none: it failed for good.
        """
        self._tell(outcome)
        self._failures.append(outcome.failure or Failure.CRASHED)
        again = following(self._failures, self.crash_retries)
        if again is None:
            raise WorkFailedError(self.what, outcome)
        self.attempt = replace(again, number=self.attempt.number + 1)
        self.sleep(again.pause)

    def uncounted(self, outcome: Outcome) -> None:
        """Go on to an attempt like the present one, which failed by what is mended now."""
        self._tell(outcome)
        self.attempt = replace(self.attempt, number=self.attempt.number + 1)

    def _tell(self, outcome: Outcome) -> None:
        self.report.warning("%s: %s: %s", self.what, outcome.failure or Failure.CRASHED, outcome.detail)
