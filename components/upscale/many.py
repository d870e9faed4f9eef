"""Restores many pictures, in this process or several: reading runs ahead, and a bad picture costs itself alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from components.errors import BadInput
from components.photos.content import read_content
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.photos.unusable import UnusablePhotoError
from components.progress import counter
from components.runtime.workers import one_thread
from components.settings import Settings
from components.upscale.carried import FUNCTION, read_carried
from components.upscale.forecast import Forecast, Forecaster
from components.upscale.jobs import Failure, Job
from components.upscale.lanes import Died, Lanes
from components.upscale.making import Maker, MakerOf, Restored, Work
from components.upscale.picture import check_output, unusable
from components.upscale.request import Request
from components.upscale.size import Size

if TYPE_CHECKING:
    from tqdm import tqdm

Made = Generator[Restored | Failure, None, None]


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

    def order(self, jobs: Sequence[Job]) -> None:
        """What was restored in the order of the jobs, whichever was ready first."""
        places = {str(job.source): place for place, job in enumerate(jobs)}
        self.restored.sort(key=lambda one: places[one.input])

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
class Crew:
    """Who restores on a CPU: processes of one thread each, so that their number changes no byte.

    Attributes:
        load: makes the request anew, in another process; it can be pickled.
        settings: of the project.
        count: processes at most; 1: this one.
    """

    load: Callable[[], Request]
    settings: Settings
    count: int


class Restoring:
    """What all pictures have in common.

    Args:
        request: the model, and what is asked of it.
        size: of what is written.
        force: overwrite what was not made here.
        crew: None: this process, with its threads as they are.
    """

    def __init__(self, request: Request, size: Size, force: bool = False, crew: Crew | None = None) -> None:
        self._request, self._size, self._force, self._crew = request, size, force, crew
        self._maker = Maker(request, size)

    def run(self, jobs: Sequence[Job], failed: Sequence[Failure] = ()) -> Summary:
        """Restore the pictures; `failed` are those that were given up before.

        Raises:
            DiskFull: there is no room for more; what was written is recorded.
        """
        summary = Summary(failed=list(failed))
        bar = counter(total=len(jobs), desc="pictures", unit="picture", smoothing=0.1)
        with (
            bar,
            self._reader() as reader,
            closing(self._made(self._open(jobs, reader, summary, bar), len(jobs))) as made,
        ):
            for one in made:
                summary.add(one)
                bar.update()
        summary.order(jobs)
        return summary

    def forecast(self, jobs: Sequence[Job], failed: Sequence[Failure] = ()) -> Forecast:
        """What `run` would do, and take; photos are read, one tile is restored, and nothing is written."""
        count = 1 if self._crew is None else self._crew.count
        forecaster = Forecaster(self._request, self._size, count)
        forecaster.forecast.failed += failed
        with self._reader() as reader:
            for job, outcome in reader.each(jobs, lambda job: self._look(job, reader)):
                if isinstance(outcome, UnusablePhotoError):
                    forecaster.forecast.failed.append(Failure(job.name, _reason(outcome)))
                elif isinstance(outcome, Failure):
                    forecaster.forecast.failed.append(outcome)
                elif outcome is None:
                    forecaster.forecast.skipped.append(str(job.target))
                else:
                    forecaster.add(job, outcome.photo.pixels)
        with self._threads():
            return forecaster.finish()

    def _reader(self) -> PhotoReader:
        return PhotoReader(Limits.of(self._request.upscaler.tiling.max_pixels), 1, (FUNCTION,))

    def _threads(self) -> AbstractContextManager[None]:
        return nullcontext() if self._crew is None else one_thread()

    def _open(self, jobs: Sequence[Job], reader: PhotoReader, summary: Summary, bar: tqdm[Any]) -> Iterator[Work]:
        """What has to be restored; what has not goes into `summary`."""
        for job, outcome in reader.each(jobs, lambda job: self._look(job, reader)):
            if isinstance(outcome, Work):
                yield outcome
                continue
            if isinstance(outcome, UnusablePhotoError):
                summary.add(Failure(job.name, _reason(outcome)))
            else:
                summary.add(outcome or Skipped(str(job.target)))
            bar.update()

    def _made(self, works: Iterable[Work], most: int) -> Made:
        crew = self._crew
        if crew is None or min(crew.count, most) < 2:
            return self._made_here(works)
        return self._made_by_crew(works, crew)

    def _made_here(self, works: Iterable[Work]) -> Made:
        """One after the other; the last one is written while the next is restored."""
        with ThreadPoolExecutor(1, "writing") as writing:
            written: Future[Restored | Failure] | None = None
            for work in works:
                started = time.monotonic()
                with self._threads():
                    made = self._maker.restored(work)
                if written is not None:
                    yield written.result()  # one at a time, so that memory stays bounded
                written = writing.submit(self._maker.write, work, made, started)
            if written is not None:
                yield written.result()

    def _made_by_crew(self, works: Iterable[Work], crew: Crew) -> Made:
        load = MakerOf(crew.load, self._size, self._maker.made_by)
        lanes: Lanes[Work, Restored | Failure] = Lanes(load, crew.settings, crew.count)
        with lanes:
            for work, one in lanes.each(works):
                yield Failure(work.job.name, one.reason) if isinstance(one, Died) else one

    def _look(self, job: Job, reader: PhotoReader) -> Work | Failure | None:
        """What has to be done; None where it is done.

        Raises:
            UnusablePhotoError: the photo cannot be used.
        """
        try:
            content = read_content(job.source, reader.limits.max_bytes)
            source = sha256(content).hexdigest()
            done = self._maker.record(job.base).of(job.target)
            if done is not None and (done.source, done.made_by) == (source, self._maker.made_by) and not self._force:
                return None
            check_output(job.target, self._force or done is not None)
        except BadInput as problem:
            return Failure(job.name, str(problem))
        return Work(job, source, read_carried(reader, content, job.name))


def _reason(error: UnusablePhotoError) -> str:
    return str(unusable("", error)).removeprefix(" cannot be used: ")
