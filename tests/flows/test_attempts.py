"""What happens to a shard after each kind of failure."""

import pytest

from flows.attempts import Attempt, following
from flows.launchers.base import Failure


def test_the_first_attempt() -> None:
    assert following([]) == Attempt(0, 0, 0.0)


@pytest.mark.parametrize("failure", [Failure.EVICTED, Failure.LOST, Failure.RESUME_LATER])
def test_what_is_nobodys_fault_is_not_counted(failure: Failure) -> None:
    again = following([failure] * 5)
    assert again is not None
    assert again.halvings == 0
    assert following([failure, failure, Failure.CRASHED]) is not None


def test_pauses_grow_to_a_minute() -> None:
    pauses = [attempt.pause for n in range(1, 9) if (attempt := following([Failure.EVICTED] * n))]
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


def test_even_evictions_end() -> None:
    assert following([Failure.EVICTED] * 51) is None


def test_too_little_memory_is_tried_once_with_half_the_batches() -> None:
    assert following([Failure.OUT_OF_MEMORY]) == Attempt(1, 1, 0.0)
    assert following([Failure.OUT_OF_MEMORY, Failure.OUT_OF_MEMORY]) is None


def test_halved_batches_stay_halved() -> None:
    again = following([Failure.OUT_OF_MEMORY, Failure.EVICTED])
    assert again is not None
    assert again.halvings == 1


def test_a_crash_is_tried_as_often_as_said() -> None:
    assert following([Failure.CRASHED]) is not None
    assert following([Failure.CRASHED] * 2) is None
    assert following([Failure.CRASHED], crash_retries=0) is None


@pytest.mark.parametrize(
    "failure",
    [
        Failure.BAD_INPUT,
        Failure.OUT_OF_DISK,
        Failure.IMAGE_PULL,
        Failure.UNSCHEDULABLE,
        Failure.QUEUE_TIMEOUT,
        Failure.DEADLINE_EXCEEDED,
        Failure.REJECTED,
        Failure.REFUSED,
        Failure.CANCELLED,
    ],
)
def test_what_cannot_get_better_is_not_tried_again(failure: Failure) -> None:
    assert following([failure]) is None
