"""What the kubernetes launcher knows of one piece of work, and one observation of it."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from flows.launchers.base import Failure, Outcome, State, Work
from flows.launchers.pod_logs import Follower
from flows.launchers.watch import Mirror

IDLE = 60.0
"""Seconds after which a waiter looks even if it was told nothing."""


@dataclass
class RunMirrors:
    """A run's Jobs and pods."""

    jobs: Mirror
    pods: Mirror


@dataclass
class Entry:
    """One piece of work; all of it is guarded by the launcher's lock, which `changed` has.

    Attributes:
        deleted: nobody wants it any more.
        removed: the API server knows that, too.
        asked: when the API server was last asked why it waits.
        since: of the log: earlier lines were told by the flow before this one.
        trouble: since when something keeps it from starting, and what was said.
        never: since when its queue says that it will never be admitted.
        too_large: what it asks for that no node has.
        queue_says: why it is not admitted.
    """

    work: Work
    name: str
    mirrors: RunMirrors
    changed: threading.Condition
    changes: int = 0
    created: bool = False
    deleted: bool = False
    removed: bool = False
    verdict: Outcome | None = None
    waiting_since: float | None = None
    failed_since: float | None = None
    asked: float = 0.0
    since: str | None = None
    trouble: dict[Failure, tuple[float, str]] = field(default_factory=dict)
    never: float | None = None
    too_large: str = ""
    queue_says: str = ""
    lines: deque[str] = field(default_factory=deque)
    follower: Follower | None = None

    def tell(self) -> None:
        """Wake up who waits for it."""
        self.changes += 1
        self.changed.notify_all()


@dataclass(frozen=True)
class Observation:
    """What the mirrors say of one piece of work, and what to do next.

    Attributes:
        ask: something the mirrors do not know must be asked of the API server.
        wake: seconds until it should be looked at even without news.
    """

    state: State
    outcome: Outcome | None = None
    ask: Callable[[Entry], None] | None = None
    wake: float = IDLE
