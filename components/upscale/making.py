"""Makes and writes pictures, one after the other, in whatever process: what a model and a request do to a photo."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from components.errors import BadInput, DiskFull
from components.storage import digests
from components.upscale.carried import Carried, Pixels
from components.upscale.encode import SIXTEEN
from components.upscale.jobs import Failure, Job
from components.upscale.picture import check_size, write_picture
from components.upscale.record import Record
from components.upscale.request import Request
from components.upscale.size import Size, resized

NO_MEMORY = "there is not enough memory: give a smaller --tile, or fewer --workers, and run the same command again"


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
class Work:
    """A picture that has to be restored: its file's digest, and the content."""

    job: Job
    source: str
    photo: Carried


class Maker:
    """What all pictures have in common.

    Args:
        request: the model, and what is asked of it.
        size: of what is written.
    """

    def __init__(self, request: Request, size: Size) -> None:
        self.request, self.size = request, size
        self._records: dict[Path, Record] = {}
        upscaler = request.upscaler
        self.made_by = digests.of_json(
            [
                upscaler.digest, upscaler.backbone.sampler.digest, upscaler.colour_fix, upscaler.tiling.tile,
                upscaler.tiling.overlap, asdict(size), request.seeds[0], request.prompt, *request.described,
            ]
        )  # fmt: skip

    def record(self, base: Path) -> Record:
        """What is done below a folder."""
        if base not in self._records:
            self._records[base] = Record(base)
        return self._records[base]

    def restored(self, work: Work) -> Pixels | Failure:
        """The picture, `[H, W, 3]` of the photo's depth; or why there is none."""
        try:
            height, width = work.photo.pixels.shape[:2]
            size = self.size.of(width, height, self.request.upscaler.backbone.scale)
            check_size(work.job.target, *size)
            return resized(self.request(work.photo.pixels)[0], size)
        except BadInput as problem:
            return Failure(work.job.name, str(problem))
        except (MemoryError, RuntimeError) as problem:
            if not _is_of_memory(problem):
                raise
            return Failure(work.job.name, NO_MEMORY)

    def write(self, work: Work, made: Pixels | Failure, started: float) -> Restored | Failure:
        """Publish and record it; `started` is of `time.monotonic`.

        Raises:
            DiskFull: there is no room for it.
        """
        target = work.job.target
        if isinstance(made, Failure):
            return made
        try:
            result = write_picture(target, made, work.photo)
        except DiskFull:
            raise
        except BadInput as problem:
            return Failure(work.job.name, str(problem))
        self.record(work.job.base).add(target, work.source, self.made_by, result)
        seconds = round(time.monotonic() - started, 3)
        lost = work.photo.lost(target.suffix.lower() in SIXTEEN)
        return Restored(str(work.job.source), str(target), made.shape[1], made.shape[0], seconds, lost)

    def __call__(self, work: Work) -> Restored | Failure:
        """All of it, in a worker: it is not ended between a picture and its line in the record."""
        started = time.monotonic()
        made = self.restored(work)
        with _unended():
            return self.write(work, made, started)


@dataclass(frozen=True)
class MakerOf:
    """What a worker calls once: the same maker as this process has.

    Attributes:
        request: loads the model again; it can be pickled.
        size: of what is written.
        made_by: of the maker here.
    """

    request: Callable[[], Request]
    size: Size
    made_by: str

    def __call__(self) -> Maker:
        """Load it.

        Raises:
            BadInput: the model is another one by now.
        """
        maker = Maker(self.request(), self.size)
        if maker.made_by != self.made_by:
            raise BadInput("the model was changed while it was in use: run the same command again")
        return maker


def _is_of_memory(problem: Exception) -> bool:
    """Torch says of the CPU's memory what it says of everything."""
    return isinstance(problem, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(problem)


@contextmanager
def _unended() -> Iterator[None]:
    """SIGTERM, with which workers are ended, is not heard: who sent it waits until the picture is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
