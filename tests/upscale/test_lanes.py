"""Workers of one item at a time: each item comes back once, a death is told of its item, and none is left."""

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from components.errors import BadInput
from components.settings import Settings
from components.upscale.lanes import Died, Lanes
from tests.made import small_params
from tests.works import Fate, fate, give, refuse, slow

SETTINGS = Settings.model_validate(small_params())


def test_the_dead_are_told_and_replaced() -> None:
    asked = []

    def items() -> Iterator[Fate]:
        for number, end in enumerate(["", "SIGKILL", "", "SIGSEGV", "exit", ""]):
            asked.append(number)
            yield number, end

    with Lanes(partial(give, fate), SETTINGS, 2) as lanes:
        found = {}
        for (number, _), result in lanes.each(items()):
            found[number] = result
            assert len(asked) <= len(found) + 2  # no more are asked for than can be done
    reasons = {number: one.reason for number, one in found.items() if isinstance(one, Died)}
    assert set(reasons) == {1, 3, 4}
    assert "killed (SIGKILL), as the kernel does when memory runs out" in reasons[1]
    assert "SIGSEGV" in reasons[3]
    assert "exit code 3" in reasons[4]
    pids = {one for number, one in found.items() if number not in reasons}
    assert os.getpid() not in pids
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(BadInput, match="is bad"), Lanes(partial(give, refuse), SETTINGS, 1) as lanes:
        list(lanes.each([0]))


def test_an_error_here_ends_all_at_once(tmp_path: Path) -> None:
    """As Ctrl-C does: the second item would take a minute."""
    started = time.monotonic()

    def interrupted() -> None:
        with Lanes(partial(give, partial(slow, tmp_path)), SETTINGS, 2) as lanes:
            for _ in lanes.each([0, 1]):
                while len(list(tmp_path.glob("*.pid"))) < 2:
                    time.sleep(0.01)
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - started < 50
    assert not any(psutil.pid_exists(int(path.stem)) for path in tmp_path.glob("*.pid"))
