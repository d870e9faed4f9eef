"""Whether a shard that failed is tried again, and how: a pure function of what happened to it so far."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flows.launchers.base import Failure

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
