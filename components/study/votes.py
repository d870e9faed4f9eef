"""What people said: one JSON object a line, appended and fsynced before anybody is told that it counts."""

import fcntl
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pydantic import TypeAdapter, ValidationError

from components.artifacts.documents import Section
from components.errors import BadInput
from components.storage import digests
from components.study.manifest import Which
from components.study.order import Kind

logger = logging.getLogger("dp2o.study")

VOTES = "votes.jsonl"
Choice = Literal["left", "right", "tie"]


class Vote(Section):
    """An answer.

    Attributes:
        task: number in the rater's order.
        left: which of the comparison's two was on the left.
        seconds: from the pictures' appearance to the answer, by the rater's own clock; None where it is unknown.
        id: of the request, so that one that comes twice counts once.
    """

    rater: str
    task: int
    comparison: str
    kind: Kind
    left: Which
    choice: Choice
    time: str
    id: str
    seconds: float | None = None

    @property
    def first(self) -> float:
        """1 where the comparison's first picture was preferred, 0 where the second was, 0.5 for a tie."""
        if self.choice == "tie":
            return 0.5
        return float((self.choice == "left") == (self.left == "first"))


class Undo(Section):
    """The rater took back the answer to `task`."""

    rater: str
    task: int
    undo: Literal[True]
    time: str
    id: str


Entry = Vote | Undo
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)


@dataclass(frozen=True)
class Entries:
    """The content of a log; `torn` is what a crash left of a last line, which nobody was told of."""

    entries: list[Entry]
    torn: str = ""
    whole_bytes: int = 0

    @property
    def standing(self) -> list[Vote]:
        """Votes that were not taken back, by rater and task."""
        found: dict[tuple[str, int], Vote] = {}
        for entry in self.entries:
            if isinstance(entry, Vote):
                found[entry.rater, entry.task] = entry
            else:
                found.pop((entry.rater, entry.task), None)
        return [found[key] for key in sorted(found)]

    @property
    def digest(self) -> str:
        """Hex sha256 of the standing votes."""
        return digests.of_json([vote.model_dump(mode="json") for vote in self.standing])


def read(folder: Path) -> Entries:
    """The log of the study in `folder`; a last line without its end is left out, and said.

    Raises:
        BadInput: a line before the last is none of ours; names file and line.
    """
    path = folder / VOTES
    if not path.is_file():
        return Entries([])
    content = path.read_bytes()
    *lines, rest = content.split(b"\n")
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(_ENTRY.validate_json(line))
        except ValidationError as error:
            what = error.errors()[0]["msg"]
            raise BadInput(
                f"{path}, line {number} is no vote ({what}): restore the file, or remove the line"
            ) from error
    torn = rest.decode(errors="replace")
    if torn:
        logger.warning("%s: the last line has no end, as a crash leaves one, and is left out: %s", path, torn[:200])
    return Entries(entries, torn, len(content) - len(rest))


@dataclass
class VoteLog:
    """The log, open for one process.

    Raises:
        BadInput: another process has it open, or a line is damaged.
    """

    folder: Path
    entries: list[Entry] = field(default_factory=list)
    _handle: int = -1

    def __enter__(self) -> Self:
        path = self.folder / VOTES
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._handle)
            raise BadInput(f"{path} is open in another process, such as `dp2o study serve`: end that one") from error
        known = read(self.folder)
        self.entries = known.entries
        if known.torn:  # or the next vote would be joined to it
            os.ftruncate(self._handle, known.whole_bytes)
        _sync_folder(self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)

    def append(self, entries: Iterable[Entry]) -> None:
        """Write and fsync; all of them or none.

        Raises:
            OSError: the disk is full or gone; the log is as it was.
        """
        added = list(entries)
        content = b"".join(entry.model_dump_json().encode() + b"\n" for entry in added)
        before = os.fstat(self._handle).st_size
        try:
            written = os.write(self._handle, content)
            if written != len(content):
                raise OSError(f"{written} of {len(content)} bytes were written")
            os.fsync(self._handle)
        except OSError:
            os.ftruncate(self._handle, before)
            raise
        self.entries.extend(added)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
