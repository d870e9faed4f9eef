"""The state of a study that is being voted on: where each rater is, and which requests count.

A request says how many entries of its rater it knows of. One that knows of fewer comes from a second tab, or late, and
is refused with the present state; one that came before is answered again without counting again.
"""

import threading
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError

from components.artifacts.documents import Section
from components.study.manifest import Manifest, now
from components.study.order import Task, tasks_of
from components.study.raters import Rater
from components.study.votes import Choice, Entry, Undo, Vote, VoteLog


class Request(Section):
    """What a page sends.

    Attributes:
        id: drawn by the page for this one action.
        revision: entries of the rater that the page knows of.
        task: that is answered, or whose answer is taken back.
        choice: of an answer; `undo` takes back.
        seconds: that the pictures were shown before the answer.
    """

    id: str = Field(min_length=8, max_length=64)
    revision: int = Field(ge=0)
    task: int = Field(ge=0)
    choice: Choice | Literal["undo"]
    seconds: float | None = Field(default=None, ge=0.0, le=1e6, allow_inf_nan=False)


class Refused(Exception):
    """The request does not fit the present state; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class _Place:
    """Where a rater is: their tasks, the votes that stand, requests that were seen."""

    tasks: tuple[Task, ...]
    votes: dict[int, Vote]
    seen: set[str]
    revision: int

    @property
    def current(self) -> int:
        """The first task without a vote; the number of tasks where there is none."""
        return next((task.number for task in self.tasks if task.number not in self.votes), len(self.tasks))

    @property
    def last(self) -> int | None:
        """The task before the current one, whose vote can be taken back."""
        return self.current - 1 if self.current else None


class Voting:
    """All raters of one study; threads share it."""

    def __init__(self, manifest: Manifest, log: VoteLog) -> None:
        self.manifest = manifest
        self._log, self._places, self._lock = log, dict[str, _Place](), threading.Lock()

    def state(self, rater: Rater) -> dict[str, Any]:
        """What a page needs to show the rater's next task."""
        with self._lock:
            return self._state(self._place(rater))

    def task(self, rater: Rater, number: int) -> Task | None:
        """A task that the rater may see: answered, the next, or the one after it, which pages fetch early."""
        with self._lock:
            place = self._place(rater)
            return place.tasks[number] if 0 <= number < min(place.current + 2, len(place.tasks)) else None

    def act(self, rater: Rater, content: bytes) -> dict[str, Any]:
        """Count a request, and tell the state after it.

        Raises:
            Refused: it is none (400), does not fit the state (409), or cannot be stored (507).
        """
        try:
            request = Request.model_validate_json(content)
        except ValidationError as error:
            raise Refused(400, f"no request of ours: {error.errors()[0]['msg']}") from error
        with self._lock:
            place = self._place(rater)
            if request.id not in place.seen:
                self._count(place, self._entry(rater, place, request))
            return self._state(place)

    def _entry(self, rater: Rater, place: _Place, request: Request) -> Entry:
        if request.revision != place.revision:
            raise Refused(409, "this was answered in another window, which is shown now")
        if request.choice == "undo":
            if request.task != place.last:
                raise Refused(409, "only the last answer can be taken back")
            return Undo(rater=rater.name, task=request.task, undo=True, time=now(), id=request.id)
        if request.task != place.current or place.current == len(place.tasks):
            raise Refused(409, "another picture is the next")
        if request.choice == "tie" and not self.manifest.ties:
            raise Refused(400, "this study has no ties")
        task = place.tasks[request.task]
        return Vote(
            rater=rater.name,
            task=task.number,
            comparison=task.comparison,
            kind=task.kind,
            left=task.left,
            choice=request.choice,
            time=now(),
            id=request.id,
            seconds=request.seconds,
        )

    def _count(self, place: _Place, entry: Entry) -> None:
        try:
            self._log.append([entry])
        except OSError as error:
            raise Refused(
                507, f"the answer could not be stored ({error.strerror or error}): tell who invited you"
            ) from (error)
        _apply(place, entry)

    def _place(self, rater: Rater) -> _Place:
        if rater.name not in self._places:
            place = _Place(tasks_of(self.manifest, rater.name, rater.number), {}, set(), 0)
            for entry in self._log.entries:
                if entry.rater == rater.name:
                    _apply(place, entry)
            self._places[rater.name] = place
        return self._places[rater.name]

    def _state(self, place: _Place) -> dict[str, Any]:
        current, total = place.current, len(place.tasks)
        return {
            "question": self.manifest.question,
            "ties": self.manifest.ties,
            "revision": place.revision,
            "done": current,
            "total": total,
            "task": current if current < total else None,
            "undo": place.last,
        }


def _apply(place: _Place, entry: Entry) -> None:
    place.seen.add(entry.id)
    place.revision += 1
    if isinstance(entry, Vote):
        place.votes[entry.task] = entry
    else:
        place.votes.pop(entry.task, None)
