"""How far the intake has come, as a small file in git: data/intake.json. Pure but for reading and writing it.

S3 lists by key, not by time, and may show an object that is dated earlier than one that was seen before it: large
uploads are dated by their start. So the state is a time, and the identities of what was handled within `overlap`
before it:

    ─────────────┬──────── overlap ────────┬──────────> last modified
      passed      handled, by identity      watermark
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from components.artifacts import paths
from components.errors import BadInput
from components.intake.listing import SourceObject
from components.storage.publish import write_json
from components.storage.s3 import Place


@dataclass(frozen=True)
class Watermark:
    """State of one source."""

    time: datetime | None = None
    handled: frozenset[str] = field(default_factory=frozenset)
    """Identities of what was handled and is dated after `time` less the overlap."""

    def is_new(self, found: SourceObject, overlap: timedelta) -> bool:
        """False for what an earlier run handled, or passed."""
        return found.identity not in self.handled and not self.passed(found.modified, overlap)

    def passed(self, modified: datetime, overlap: timedelta) -> bool:
        """True for what is dated before anything that can still appear."""
        return self.time is not None and modified < self.time - overlap

    def after(
        self,
        handled: Iterable[tuple[str, datetime]],
        waiting: datetime | None,
        overlap: timedelta,
        backfill: bool = False,
    ) -> Watermark:
        """The state after a run.

        Args:
            handled: identity and date of all that this run met and that is done with, by it or by an earlier run.
            waiting: date of the oldest object that is left for the next run; the time goes no further than it.
            backfill: the run looked at a part, or at what was passed long ago: the time stays.
        """
        dates = dict(handled)
        time = self.time
        if dates and not backfill:
            newest = max(dates.values())
            reach = newest if waiting is None else min(newest, waiting)
            # Never back: what was passed is no longer known by its identity. What waits is younger than that.
            time = reach if time is None else max(time, reach)
        kept = {identity for identity, modified in dates.items() if time is None or modified >= time - overlap}
        return Watermark(time, frozenset(kept))


def read(path: Path, source: Place) -> Watermark:
    """State of `source`; an empty one where there is none yet.

    Raises:
        BadInput: the file is damaged.
    """
    values = _all(path).get(str(source))
    if values is None:
        return Watermark()
    try:
        time = values["watermark"]
        return Watermark(datetime.fromisoformat(time) if time else None, frozenset(values["handled"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path} is damaged ({error}): restore it with `git checkout {paths.INTAKE_STATE}`") from error


def write(path: Path, source: Place, state: Watermark) -> None:
    """Publish the state; the same state gives the same bytes."""
    values = _all(path)
    time = state.time.astimezone(UTC).isoformat() if state.time else None
    values[str(source)] = {"watermark": time, "handled": sorted(state.handled)}
    write_json(path, dict(sorted(values.items())))


def _all(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        if not isinstance(values, dict):
            raise ValueError("it is no object")
    except ValueError as error:
        raise BadInput(f"{path} is damaged ({error}): restore it with `git checkout {paths.INTAKE_STATE}`") from error
    return values
