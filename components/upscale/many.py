"""Restores pictures one after the other: reading runs ahead, writing behind, and a bad picture costs itself alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from components.errors import BadInput, DiskFull
from components.photos.content import read_content
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.photos.unusable import UnusablePhotoError
from components.progress import counter
from components.storage import digests
from components.upscale.carried import FUNCTION, Carried, Pixels, read_carried
from components.upscale.encode import SIXTEEN
from components.upscale.forecast import Forecast, Forecaster
from components.upscale.jobs import Failure, Job
from components.upscale.picture import check_output, check_size, unusable, write_picture
from components.upscale.record import Record
from components.upscale.request import Request
from components.upscale.size import Size, resized


@dataclass(frozen=True)
class Restored:
    """A picture that was written."""

    input: str
    output: str
    width: int
    height: int
    seconds: float
    was: str = ""


@dataclass(frozen=True)
class Skipped:
    """A picture that was there already, of the same photo, model and settings."""

    output: str


@dataclass
class Summary:
    """What became of the pictures.

    Attributes:
        restored: now.
        skipped: outputs that were there already.
        failed: not restored.
    """

    restored: list[Restored] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)

    def add(self, one: Restored | Skipped | Failure) -> None:
        """What became of one more."""
        if isinstance(one, Restored):
            self.restored.append(one)
        elif isinstance(one, Skipped):
            self.skipped.append(one.output)
        else:
            self.failed.append(one)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "restored": [asdict(one) for one in self.restored],
            "skipped": self.skipped,
            "failed": [asdict(one) for one in self.failed],
        }

    def as_text(self) -> str:
        """For people: counts, and why each of the failed ones failed."""
        lines = [f"{len(self.restored)} restored, {len(self.skipped)} there already, {len(self.failed)} not restored"]
        for was in sorted({one.was for one in self.restored if one.was}):
            names = ", ".join(one.output for one in self.restored if one.was == was)
            lines.append(f"  in 8 bits, RGB or grey, where the photo had {was}: {names}")
        return "\n".join(lines + [f"  {one.name}: {one.reason}" for one in self.failed])


@dataclass(frozen=True)
class _Open:
    """A picture that has to be restored: its content's digest, and the content."""

    job: Job
    source: str
    photo: Carried


class Restoring:
    """What all pictures have in common.

    Args:
        request: the model, and what is asked of it.
        size: of what is written.
        force: overwrite what was not made here.
    """

    def __init__(self, request: Request, size: Size, force: bool = False) -> None:
        self._request, self._size, self._force = request, size, force
        self._upscaler = upscaler = request.upscaler
        self._records: dict[Path, Record] = {}
        backbone = upscaler.backbone
        self._made_by = digests.of_json(
            [
                upscaler.digest, backbone.sampler.digest, upscaler.colour_fix, upscaler.tiling.tile,
                upscaler.tiling.overlap, asdict(size), request.seeds[0], request.prompt, *request.described,
            ]
        )  # fmt: skip

    def run(self, jobs: Sequence[Job], failed: Sequence[Failure] = ()) -> Summary:
        """Restore the pictures; `failed` are those that were given up before.

        Raises:
            DiskFull: there is no room for more; what was written is recorded.
        """
        summary = Summary(failed=list(failed))
        limits = Limits.of(self._upscaler.tiling.max_pixels)
        bar = counter(total=len(jobs), desc="pictures", unit="picture", smoothing=0.1)
        with bar, PhotoReader(limits, 1, (FUNCTION,)) as reader, ThreadPoolExecutor(1, "writing") as writing:
            written: Future[Restored | Failure] | None = None
            for job, outcome in reader.each(jobs, lambda job: self._look(job, reader)):
                if isinstance(outcome, UnusablePhotoError):
                    summary.add(Failure(job.name, _reason(outcome)))
                elif isinstance(outcome, _Open):
                    started = time.monotonic()
                    made = self._restored(outcome)
                    if written is not None:
                        summary.add(written.result())  # one at a time, so that memory stays bounded
                    written = writing.submit(self._write, outcome, made, started)
                else:
                    summary.add(outcome or Skipped(str(job.target)))
                bar.update()
            if written is not None:
                summary.add(written.result())
        return summary

    def forecast(self, jobs: Sequence[Job], failed: Sequence[Failure] = ()) -> Forecast:
        """What `run` would do, and take; photos are read, one tile is restored, and nothing is written."""
        forecaster = Forecaster(self._request, self._size)
        forecaster.forecast.failed += failed
        with PhotoReader(Limits.of(self._upscaler.tiling.max_pixels), 1, (FUNCTION,)) as reader:
            for job, outcome in reader.each(jobs, lambda job: self._look(job, reader)):
                if isinstance(outcome, UnusablePhotoError):
                    forecaster.forecast.failed.append(Failure(job.name, _reason(outcome)))
                elif isinstance(outcome, Failure):
                    forecaster.forecast.failed.append(outcome)
                elif outcome is None:
                    forecaster.forecast.skipped.append(str(job.target))
                else:
                    forecaster.add(job, outcome.photo.pixels)
        return forecaster.finish()

    def _record(self, base: Path) -> Record:
        return self._records.setdefault(base, Record(base))

    def _look(self, job: Job, reader: PhotoReader) -> _Open | Failure | None:
        """What has to be done; None where it is done.

        Raises:
            UnusablePhotoError: the photo cannot be used.
        """
        try:
            content = read_content(job.source, reader.limits.max_bytes)
            source = sha256(content).hexdigest()
            done = self._record(job.base).of(job.target)
            if done is not None and (done.source, done.made_by) == (source, self._made_by) and not self._force:
                return None
            check_output(job.target, self._force or done is not None)
        except BadInput as problem:
            return Failure(job.name, str(problem))
        return _Open(job, source, read_carried(reader, content, job.name))

    def _restored(self, work: _Open) -> Pixels | Failure:
        try:
            height, width = work.photo.pixels.shape[:2]
            size = self._size.of(width, height, self._upscaler.backbone.scale)
            check_size(work.job.target, *size)
            return resized(self._request(work.photo.pixels)[0], size)
        except BadInput as problem:
            return Failure(work.job.name, str(problem))

    def _write(self, work: _Open, made: Pixels | Failure, started: float) -> Restored | Failure:
        target = work.job.target
        if isinstance(made, Failure):
            return made
        try:
            result = write_picture(target, made, work.photo)
        except DiskFull:
            raise
        except BadInput as problem:
            return Failure(work.job.name, str(problem))
        self._record(work.job.base).add(target, work.source, self._made_by, result)
        seconds = round(time.monotonic() - started, 3)
        lost = work.photo.lost(target.suffix.lower() in SIXTEEN)
        return Restored(str(work.job.source), str(target), made.shape[1], made.shape[0], seconds, lost)


def _reason(error: UnusablePhotoError) -> str:
    return str(unusable("", error)).removeprefix(" cannot be used: ")
