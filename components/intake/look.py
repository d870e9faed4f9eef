"""One look at the source: what is new is downloaded and examined, a few objects at a time, and kept or set aside."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from components.artifacts import tables
from components.artifacts.retraining import IntakeReport
from components.failpoints import Failpoint
from components.intake.examine import CleanPhoto, check_entry, examine
from components.intake.journal import Journal
from components.intake.listing import SourceObject, listed
from components.intake.quarantine import recorded, set_aside
from components.intake.watermark import Watermark
from components.photos.reader import PhotoReader
from components.photos.unusable import Reason, UnusablePhotoError
from components.settings.intake import IntakeSettings
from components.storage.publish import atomic_file
from components.storage.s3 import Client, Place, status_of

logger = logging.getLogger("dp2o.intake")

GROUP = 32
"""Objects that are examined side by side; of so many the journal says that they are."""


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes.

    Attributes:
        spool: folder of pictures that were taken in and are not published yet, of this run and of killed ones.
    """

    source: Place
    quarantine: Place
    spool: Path


@dataclass
class Kept:
    """A picture that is taken in: its table row, and its PNG in the spool; none in a dry run."""

    row: tables.Row
    path: Path | None


@dataclass
class Seen:
    """What a look came to.

    Attributes:
        handled: identity and date of all that is done with.
        oldest_waiting: date of the oldest object that is left for the next run.
    """

    kept: list[Kept] = field(default_factory=list)
    handled: list[tuple[str, datetime]] = field(default_factory=list)
    oldest_waiting: datetime | None = None
    listed: int = 0
    waiting: int = 0
    gone: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def report(self, source: Place, shard: str, dry_run: bool) -> IntakeReport:
        """For people and the flow; `shard` is the one that was published."""
        return IntakeReport(
            source=str(source),
            listed=self.listed,
            accepted=tuple(sorted(str(kept.row["pixels"]) for kept in self.kept)),
            quarantined=dict(sorted(self.reasons.items())),
            waiting=self.waiting,
            gone=self.gone,
            shard=shard,
            dry_run=dry_run,
        )


class Look:
    """The state of one look.

    Args:
        taken: identities of what earlier runs took in.
        known: by pixel digest, where a picture is from that is there already; is added to.
        min_side: of a picture, px.
    """

    def __init__(
        self,
        client: Client,
        places: Places,
        limits: IntakeSettings,
        reader: PhotoReader,
        taken: frozenset[str],
        known: Mapping[str, str],
        min_side: int,
        failpoint: Failpoint,
    ) -> None:
        self._client, self._places, self._limits, self._reader = client, places, limits, reader
        self._taken, self._known, self._min_side, self._failpoint = taken, dict(known), min_side, failpoint
        self._overlap = timedelta(hours=limits.overlap_hours)
        # A killed run's pictures: <identity>-<pixels>-<width>x<height>.png
        self._spooled = {path.name.partition("-")[0]: path for path in places.spool.glob("*-*-*.png")}
        self.journal = Journal(client, places.quarantine, limits.dry_run)
        self._started, self._bytes, self._begun = time.monotonic(), 0, 0
        self._seen = Seen()

    def __call__(self, state: Watermark) -> Seen:
        """Look at all that lies under the source, and handle what `state` does not know."""
        seen, group = self._seen, list[SourceObject]()
        for found in listed(self._client, self._places.source):
            seen.listed += 1
            if not self._wanted(found, state):
                if self._was_handled(found, state):
                    seen.handled.append((found.identity, found.modified))
                continue
            if found.age < self._limits.settle_seconds or self._spent():
                seen.waiting += 1
                seen.oldest_waiting = min(found.modified, seen.oldest_waiting or found.modified)
                continue
            self._begun += 1
            self._bytes += found.size if found.size <= self._limits.max_bytes else 0
            alone = self.journal.is_suspect(found)
            if group and (alone or len(group) == GROUP):
                self._handle(group)
                group = []
            group.append(found)
            if alone:
                self._handle(group)
                group = []
        if group:
            self._handle(group)
        return seen

    def _spent(self) -> bool:
        """Whether this run has done as much as one may; one object is always begun, so that every run gets on."""
        limits = self._limits
        late = time.monotonic() - self._started >= limits.seconds_a_run
        full = self._begun >= limits.max_images or self._bytes >= limits.bytes_a_run
        return self._begun > 0 and (full or late)

    def _wanted(self, found: SourceObject, state: Watermark) -> bool:
        if self._limits.backfill:
            return self._limits.includes(found.modified) and found.identity not in self._taken
        return state.is_new(found, self._overlap) and found.identity not in self._taken

    def _was_handled(self, found: SourceObject, state: Watermark) -> bool:
        done = found.identity in state.handled or found.identity in self._taken
        return done and not state.passed(found.modified, self._overlap)

    def _handle(self, group: list[SourceObject]) -> None:
        self.journal.examining(group)
        self._failpoint("examining")
        for found, outcome in self._reader.each(group, self._examined):
            try:
                if isinstance(outcome, UnusablePhotoError):
                    raise outcome
                self._take(found, outcome)
            except UnusablePhotoError as problem:
                self._seen.reasons[str(problem.reason)] += 1
                if not self._limits.dry_run:
                    set_aside(self._client, self._places.source, self._places.quarantine, found, problem)
                # the key is a stranger's text: quoted, so that it cannot forge lines of the log
                logger.info("%r set aside: %s", found.key, problem)
            self._seen.handled.append((found.identity, found.modified))
            self._failpoint("handled")

    def _examined(self, found: SourceObject) -> CleanPhoto | Path | None:
        """In a thread: the picture, or a killed run's PNG of it; None where the object is gone.

        Raises:
            UnusablePhotoError: it is to be set aside.
        """
        check_entry(found.key, found.size, self._limits.max_bytes)
        if self.journal.is_condemned(found):
            raise UnusablePhotoError(Reason.HOSTILE, "an earlier run ended while it examined this object alone")
        if found.identity in self._spooled:
            return self._spooled[found.identity]
        if self.journal.interrupted and not self._limits.backfill:
            problem = recorded(self._client, self._places.quarantine, found)
            # what was the same as another is looked at again: the other may be gone meanwhile
            if problem is not None and problem.reason is not Reason.DUPLICATE:
                raise problem
        data = self._download(found)
        return None if data is None else examine(self._reader, data, found.key, self._min_side)

    def _take(self, found: SourceObject, taken: CleanPhoto | Path | None) -> None:
        if taken is None:
            self._seen.gone += 1
            return
        if isinstance(taken, Path):
            _, pixels, size = taken.stem.split("-")
            width, _, height = size.partition("x")
            self._keep(found, pixels, int(width), int(height), taken)
            return
        self._check_new(taken.pixels)
        path = None
        if not self._limits.dry_run:
            self._bytes += len(taken.png)
            path = self._places.spool / f"{found.identity}-{taken.pixels}-{taken.width}x{taken.height}.png"
            with atomic_file(path) as temporary:
                temporary.write_bytes(taken.png)
        self._keep(found, taken.pixels, taken.width, taken.height, path)

    def _check_new(self, pixels: str) -> None:
        if pixels in self._known:
            raise UnusablePhotoError(Reason.DUPLICATE, f"same pixels as {self._known[pixels]}")

    def _keep(self, found: SourceObject, pixels: str, width: int, height: int, path: Path | None) -> None:
        self._check_new(pixels)
        self._known[pixels] = found.key
        source = self._places.source
        row = {"pixels": pixels, "shard": "", "width": width, "height": height, "bucket": source.bucket}
        row |= {"key": found.key, "version": found.version, "etag": found.etag}
        self._seen.kept.append(Kept(row | {"modified": found.modified.isoformat()}, path))

    def _download(self, found: SourceObject) -> bytes | None:
        """The object's bytes; None where it is gone, or no longer what was listed."""
        from botocore.exceptions import (  # noqa: PLC0415
            ClientError,
            ConnectionClosedError,
            IncompleteReadError,
            ReadTimeoutError,
            ResponseStreamingError,
        )
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential  # noqa: PLC0415

        version = {"VersionId": found.version} if found.version else {}
        # botocore tries a request again, but not the reading of its answer
        cut = (ConnectionClosedError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
        try:
            for attempt in Retrying(
                retry=retry_if_exception_type(cut),
                stop=stop_after_attempt(self._limits.attempts),
                wait=wait_random_exponential(0.2, 10),
                reraise=True,
            ):
                with attempt:
                    answer = self._client.get_object(
                        Bucket=self._places.source.bucket, Key=found.key, IfMatch=found.etag, **version
                    )
                    data: bytes = answer["Body"].read(self._limits.max_bytes + 1)
        except ClientError as error:
            if status_of(error) in (404, 412):
                return None
            raise
        return data
