"""What keeps a holder that slept from writing over the next: the lease's number in every commit, and git's own order.

A lease alone is no fence: between its last check and the push, the machine may sleep, and another take over and push.
So each commit carries the number of its holder, and nothing is pushed on top of a higher one. A push is a fast-forward
or it is refused, so that all commits of the branch are looked at that ours would follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from components.storage import git

TRAILER = "Dp2o-Holder"
LOOKED_AT = 50
"""Newest commits of holders that are compared: each run makes a handful."""


class LostLeaseError(Exception):
    """The lease was taken over: stop, and publish nothing more."""


@dataclass(frozen=True)
class Fence:
    """A holder.

    Attributes:
        number: how many have held the lease, this one included; a later holder's is higher.
        check: asks the lease itself.
    """

    number: int
    check: Callable[[], None]

    @property
    def trailer(self) -> str:
        """Line of a commit's message."""
        return f"{TRAILER}: {self.number}"

    def hold(self, root: Path) -> None:
        """Ask the lease, and look at all that a push of `root` would follow.

        Raises:
            LostLeaseError: another has it, or had it since and pushed.
        """
        self.check()
        newest = highest(root)
        if newest > self.number:
            raise LostLeaseError(
                f"holder {newest} of the lease has committed to the branch since, this is holder {self.number}: "
                "nothing more is published, and the other run goes on"
            )


_fence: ContextVar[Fence | None] = ContextVar("fence", default=None)


@contextmanager
def fenced(fence: Fence | None) -> Iterator[None]:
    """All that this flow, and those within it, commit in this block is that holder's."""
    token = _fence.set(fence)
    try:
        yield
    finally:
        _fence.reset(token)


def present() -> Fence | None:
    """The holder in whose name commits are made; None where no lease is held."""
    return _fence.get()


def highest(root: Path) -> int:
    """Highest number of a holder in the history of a work tree; 0 where there is none."""
    form = f"--format=%(trailers:key={TRAILER},valueonly)"
    found = git.output(root, "log", f"-n{LOOKED_AT}", f"--grep=^{TRAILER}: [0-9]", form, "HEAD")
    return max((int(word) for word in found.split() if word.isdecimal()), default=0)
