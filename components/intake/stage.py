"""Looks for new LR images in S3, keeps the usable ones in data/incoming, and sets the others aside with a reason."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from pathlib import Path

from components.artifacts import paths, tables
from components.artifacts.retraining import IntakeReport
from components.artifacts.shards import Shard, write_shard
from components.errors import BadInput
from components.failpoints import Failpoint, no_failpoint
from components.intake import watermark
from components.intake.examine import CLEAN
from components.intake.listing import SourceObject
from components.intake.look import Kept, Look, Places
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.settings import Settings
from components.storage import digests
from components.storage.s3 import Place, connect, s3_errors

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

    No more is begun than `intake.max_images`, `seconds_a_run` and `bytes_a_run` allow; what waits is the next run's.
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
    spool = root / settings.run.cache / "intake"
    places = Places(source, quarantine, spool)
    side = settings.prepare.crop // settings.prepare.scale
    origins = _origins(root)
    taken = frozenset(_identity(row) for row in origins)
    known = {str(row["pixels"]): f"{row['key']}" for row in origins} | _of_dataset(root)
    each = Limits(limits.max_pixels, limits.max_bytes, limits.seconds_an_image)
    with s3_errors(f"intake from {source}"), PhotoReader(each, settings.run.workers, (CLEAN,)) as reader:
        client = connect(limits.attempts, limits.timeout)
        look = Look(client, places, limits, reader, taken, known, side, failpoint)
        state = watermark.read(root / paths.INTAKE_STATE, source)
        seen = look(state)
    shard = ""
    if not limits.dry_run:
        failpoint("examined")
        shard = _publish(root, seen.kept, origins, failpoint)
        overlap = timedelta(hours=limits.overlap_hours)
        after = state.after(seen.handled, seen.oldest_waiting, overlap, limits.backfill)
        if after != state or not (root / paths.INTAKE_STATE).is_file():
            watermark.write(root / paths.INTAKE_STATE, source, after)
        failpoint("watermark written")
        with s3_errors(f"intake from {source}"):
            look.journal.finished()
        for path in spool.glob("*.png"):
            path.unlink()
    report = seen.report(source, shard, limits.dry_run)
    report.write(root)
    return report


def _publish(root: Path, kept: list[Kept], origins: list[tables.Row], failpoint: Failpoint) -> str:
    """Publish shard and table; the shard's name, empty where nothing new is kept."""
    folder = root / paths.INCOMING
    named = {str(row["shard"]) for row in origins}
    for path in folder.glob("*.tar"):
        if path.name not in named:  # of a run that died before its table: its pictures are in this run's shard
            path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    if not kept:
        if not (root / paths.INCOMING_ROWS).is_file():
            tables.write_rows(root / paths.INCOMING_ROWS, tables.INCOMING, [])
        return ""
    kept.sort(key=lambda one: str(one.row["pixels"]))
    shard = f"{digests.of_json([str(one.row['pixels']) for one in kept])[:16]}.tar"
    members = ((f"{one.row['pixels']}.png", one.path.read_bytes()) for one in kept if one.path is not None)
    write_shard(folder / shard, members)
    failpoint("shard published")
    for one in kept:
        one.row["shard"] = shard
    rows = sorted([*origins, *(one.row for one in kept)], key=lambda row: str(row["pixels"]))
    tables.write_rows(root / paths.INCOMING_ROWS, tables.INCOMING, rows)
    failpoint("origins recorded")
    return shard


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
