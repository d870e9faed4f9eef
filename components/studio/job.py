"""One restoration that the page asked for, and how far it is."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from components.studio.options import Options
from components.upscale.carried import Carried
from components.upscale.choice import Rated


class State(StrEnum):
    """Of a job."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Cancelled(Exception):
    """Whoever asked for the job does not want it any more."""


@dataclass
class Job:
    """A photo, what is asked for, and what there is of it.

    Attributes:
        folder: with the pictures that are ready.
        share: of the work that is done, 0 to 1.
        doing: what is done now, or what went wrong.
        ready: seeds whose picture is there.
        rated: seeds with their rewards, the best first; empty where there is one seed, or no metric.
        note: why there are no rewards, where they were wanted.
        unwanted: set by whoever gives the job up.
    """

    id: str
    photo: Carried
    options: Options
    folder: Path
    state: State = State.WAITING
    share: float = 0.0
    doing: str = ""
    ready: list[int] = field(default_factory=list)
    rated: list[Rated] = field(default_factory=list)
    has_base: bool = False
    note: str = ""
    seconds: float = 0.0
    unwanted: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.state not in (State.WAITING, State.RUNNING)

    def check(self) -> None:
        """Raises Cancelled once it is unwanted."""
        if self.unwanted:
            raise Cancelled

    def as_json(self) -> dict[str, Any]:
        """What the page is told."""
        return {
            "id": self.id,
            "state": self.state,
            "share": round(self.share, 3),
            "doing": self.doing,
            "seeds": list(self.ready),
            "rated": [asdict(one) for one in self.rated],
            "base": self.has_base,
            "note": self.note,
            "seconds": round(self.seconds, 1),
            "options": self.options.model_dump(),
        }
