"""Looks for new LR images in S3, keeps the usable ones in data/incoming, and sets the others aside with a reason."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from components.artifacts import digests, paths, tables
from components.artifacts.publish import atomic_file
from components.artifacts.retraining import IntakeReport
from components.artifacts.s3 import Client, Place, connect, s3_errors, status_of
from components.artifacts.shards import Shard, write_shard
from components.errors import BadInput
from components.failpoints import Failpoint, no_failpoint
from components.intake import watermark
from components.intake.examine import check_entry
from components.intake.examiner import Examiner
from components.intake.listing import SourceObject, listed
from components.intake.quarantine import set_aside
from components.photos.unusable import Reason, UnusablePhotoError
from components.settings import Settings
from components.settings.intake import IntakeSettings

logger = logging.getLogger("dp2o.intake")


def run(settings: Settings, root: Path, shard: Shard | None = None) -> None:
    """`run_intake`, as a stage is run.

    Raises:
        BadInput: a shard is asked for, or see there.
    """
    if shard is not None:
        raise BadInput("intake has one watermark and cannot run in shards: leave --shard out")
    logger.info("%s", run_intake(settings, root).text)


def run_intake(settings: Settings, root: Path, failpoint: Failpoint = no_failpoint) -> IntakeReport:
    """One look at `intake.source`.

    A *backfill* (`intake.since`, `until`, `everything`) looks at what lies before the watermark again, at what is in
    quarantine, too, and leaves the watermark where it is.

    What is published, in this order: the shard with the new pictures, the table of their origins, the watermark. A
    crash between leaves what the next run makes again, to the byte, from the same listing.

    Raises:
        BadInput: intake is not configured, S3 refuses, or the state or a table is damaged.
        ResumeLater: S3 cannot be reached, or fails.
    """
    limits = settings.intake
    if not limits.source:
        raise BadInput("intake.source is empty: write the place where new LR images arrive, s3://bucket/prefix/")
    source = Place.parse(limits.source, "intake.source")
    quarantine = Place.parse(limits.quarantine, "intake.quarantine")
    if source.holds(quarantine):
        raise BadInput(f"intake.quarantine {quarantine} lies within intake.source {source}: it would be taken in again")
    with s3_errors(f"intake from {source}"):
        client = connect(limits.attempts, limits.timeout)
        side = settings.prepare.crop // settings.prepare.scale
        with Examiner(side, limits.max_pixels, limits.seconds_an_image) as examiner:
            spool = root / settings.run.cache / "intake"
            report = _Run(client, source, quarantine, limits, root, spool, examiner)(failpoint)
    report.write(root)
    return report


@dataclass
class _Kept:
    """A picture that is taken in: its table row, and its PNG in the spool."""

    row: tables.Row
    path: Path | None


class _Run:
    """The state of one run."""

    def __init__(
        self,
        client: Client,
        source: Place,
        quarantine: Place,
        limits: IntakeSettings,
        root: Path,
        spool: Path,
        examiner: Examiner,
    ) -> None:
        self.client, self.source, self.quarantine, self.limits = client, source, quarantine, limits
        self.root, self.spool, self.examiner = root, spool, examiner
        self.overlap = timedelta(hours=limits.overlap_hours)
        self.origins = _origins(root)
        self.taken = {_identity(row) for row in self.origins}
        self.known = {str(row["pixels"]): f"{row['key']}" for row in self.origins} | _of_dataset(root)
        # A killed run's pictures: <identity>-<pixels>-<width>x<height>.png
        self.spooled = {path.name.partition("-")[0]: path for path in spool.glob("*-*-*.png")}
        self.kept: list[_Kept] = []
        self.listed = self.waiting = self.gone = 0
        self.shard = ""
        self.reasons: Counter[str] = Counter()

    def __call__(self, failpoint: Failpoint) -> IntakeReport:
        state = watermark.read(self.root / paths.INTAKE_STATE, self.source)
        handled: list[tuple[str, datetime]] = []
        oldest_waiting: datetime | None = None
        count = 0
        for found in listed(self.client, self.source):
            self.listed += 1
            if not self._wanted(found, state):
                if self._was_handled(found, state):
                    handled.append((found.identity, found.modified))
                continue
            if found.age < self.limits.settle_seconds or count >= self.limits.max_images:
                self.waiting += 1
                oldest_waiting = min(found.modified, oldest_waiting or found.modified)
                continue
            count += 1
            self._handle(found)
            handled.append((found.identity, found.modified))
        if not self.limits.dry_run:
            failpoint("examined")
            self._publish(failpoint)
            after = state.after(handled, oldest_waiting, self.overlap, self.limits.backfill)
            if after != state or not (self.root / paths.INTAKE_STATE).is_file():
                watermark.write(self.root / paths.INTAKE_STATE, self.source, after)
            failpoint("watermark written")
            for path in self.spool.glob("*.png"):
                path.unlink()
        return IntakeReport(
            source=str(self.source),
            listed=self.listed,
            accepted=tuple(sorted(str(kept.row["pixels"]) for kept in self.kept)),
            quarantined=dict(sorted(self.reasons.items())),
            waiting=self.waiting,
            gone=self.gone,
            shard=self.shard,
            dry_run=self.limits.dry_run,
        )

    def _wanted(self, found: SourceObject, state: watermark.Watermark) -> bool:
        if self.limits.backfill:
            return self.limits.includes(found.modified) and found.identity not in self.taken
        return state.is_new(found, self.overlap) and found.identity not in self.taken

    def _was_handled(self, found: SourceObject, state: watermark.Watermark) -> bool:
        done = found.identity in state.handled or found.identity in self.taken
        return done and not state.passed(found.modified, self.overlap)

    def _handle(self, found: SourceObject) -> None:
        try:
            self._take(found)
        except UnusablePhotoError as problem:
            self.reasons[str(problem.reason)] += 1
            if not self.limits.dry_run:
                set_aside(self.client, self.source, self.quarantine, found, problem)
            # the key is a stranger's text: quoted, so that it cannot forge lines of the log
            logger.info("%r set aside: %s", found.key, problem)

    def _take(self, found: SourceObject) -> None:
        check_entry(found.key, found.size, self.limits.max_bytes)
        path = self.spooled.get(found.identity)
        if path is not None:
            _, pixels, size = path.stem.split("-")
            width, _, height = size.partition("x")
            self._keep(found, pixels, int(width), int(height), path)
            return
        data = self._download(found)
        if data is None:
            self.gone += 1
            return
        taken = self.examiner(data)
        if taken.pixels in self.known:
            raise UnusablePhotoError(Reason.DUPLICATE, f"same pixels as {self.known[taken.pixels]}")
        if not self.limits.dry_run:
            path = self.spool / f"{found.identity}-{taken.pixels}-{taken.width}x{taken.height}.png"
            with atomic_file(path) as temporary:
                temporary.write_bytes(taken.png)
        self._keep(found, taken.pixels, taken.width, taken.height, path)

    def _keep(self, found: SourceObject, pixels: str, width: int, height: int, path: Path | None) -> None:
        if pixels in self.known:
            raise UnusablePhotoError(Reason.DUPLICATE, f"same pixels as {self.known[pixels]}")
        self.known[pixels] = found.key
        row = {"pixels": pixels, "shard": "", "width": width, "height": height, "bucket": self.source.bucket}
        row |= {"key": found.key, "version": found.version, "etag": found.etag}
        self.kept.append(_Kept(row | {"modified": found.modified.isoformat()}, path))

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
                stop=stop_after_attempt(self.limits.attempts),
                wait=wait_random_exponential(0.2, 10),
                reraise=True,
            ):
                with attempt:
                    answer = self.client.get_object(
                        Bucket=self.source.bucket, Key=found.key, IfMatch=found.etag, **version
                    )
                    data: bytes = answer["Body"].read(self.limits.max_bytes + 1)
        except ClientError as error:
            if status_of(error) in (404, 412):
                return None
            raise
        return data

    def _publish(self, failpoint: Failpoint) -> None:
        folder = self.root / paths.INCOMING
        named = {str(row["shard"]) for row in self.origins}
        for path in folder.glob("*.tar"):
            if path.name not in named:  # of a run that died before its table: its pictures are in this run's shard
                path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        if not self.kept:
            if not (self.root / paths.INCOMING_ROWS).is_file():
                tables.write_rows(self.root / paths.INCOMING_ROWS, tables.INCOMING, [])
            return
        self.kept.sort(key=lambda kept: str(kept.row["pixels"]))
        names = [str(kept.row["pixels"]) for kept in self.kept]
        self.shard = f"{digests.of_json(names)[:16]}.tar"
        members = ((f"{kept.row['pixels']}.png", kept.path.read_bytes()) for kept in self.kept if kept.path is not None)
        write_shard(folder / self.shard, members)
        failpoint("shard published")
        for kept in self.kept:
            kept.row["shard"] = self.shard
        rows = sorted([*self.origins, *(kept.row for kept in self.kept)], key=lambda row: str(row["pixels"]))
        tables.write_rows(self.root / paths.INCOMING_ROWS, tables.INCOMING, rows)
        failpoint("origins recorded")


def _origins(root: Path) -> list[tables.Row]:
    path = root / paths.INCOMING_ROWS
    if not path.is_file() and (root / f"{paths.INCOMING_ROWS}.dvc").is_file():
        raise BadInput(
            f"{path} is tracked by DVC but not here: `dvc pull {paths.INCOMING_ROWS}` first, or pictures come in twice"
        )
    return tables.read_rows(path, tables.INCOMING) if path.is_file() else []


def _identity(row: tables.Row) -> str:
    epoch = datetime.fromtimestamp(0)
    return SourceObject(str(row["key"]), str(row["version"]), str(row["etag"]), 0, epoch, epoch).identity


def _of_dataset(root: Path) -> dict[str, str]:
    """LR images of the dataset, by pixel digest: what is sent back to us is nothing new."""
    path = root / paths.DATASET_ROWS
    if not path.is_file():
        return {}
    rows = tables.read_rows(path, tables.DATASET)
    return {str(row["lr_id"]): f"LR {row['lr_id']} of the dataset ({row['source_name']})" for row in rows}
