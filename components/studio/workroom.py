"""Photos that were uploaded, and jobs, which one thread does one after the other."""

import logging
import queue
import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from components.errors import UserError
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.photos.unusable import UnusablePhotoError
from components.studio.job import Cancelled, Job, State
from components.studio.options import Options
from components.upscale.carried import FUNCTION, Carried, read_carried
from components.upscale.picture import unusable

logger = logging.getLogger("dp2o.studio")

MOST_PHOTOS, MOST_JOBS = 8, 8
"""That are kept; the oldest are forgotten first."""
MOST_WAITING = 4
"""Jobs that wait for the one that is worked on."""
PATIENCE = 30.0
"""Seconds that the end waits for a tile to end."""


class Busy(Exception):
    """As many jobs wait as may."""


class Workroom:
    """A context that ends its thread.

    Args:
        work: does a job, see `Restorer`.
        limits: of each photo.
        folder: for the pictures of the jobs.
    """

    def __init__(self, work: Callable[[Job], None], limits: Limits, folder: Path) -> None:
        self._work, self._folder = work, folder
        self._reader = PhotoReader(limits, 1, (FUNCTION,))
        self._photos: OrderedDict[str, Carried] = OrderedDict()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: queue.Queue[Job | None] = queue.Queue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True, name="restoring")

    def __enter__(self) -> "Workroom":
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        with self._lock:
            for job in self._jobs.values():
                job.unwanted = True
        self._waiting.put(None)
        self._thread.join(PATIENCE)
        self._reader.close()

    def add(self, content: bytes) -> tuple[str, Carried]:
        """A photo's file: its id, and what it is.

        Raises:
            BadInput: it cannot be used.
        """
        try:
            photo = read_carried(self._reader, content, "the photo")
        except UnusablePhotoError as problem:
            raise unusable("the photo", problem, "start the studio with a larger --max-pixels") from problem
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._photos[key] = photo
            while len(self._photos) > MOST_PHOTOS:
                self._photos.popitem(last=False)
        return key, photo

    def submit(self, options: Options) -> Job:
        """A new job, which waits for its turn.

        Raises:
            KeyError: there is no such photo, or no longer.
            Busy: too many wait.
        """
        with self._lock:
            photo = self._photos[options.photo]
            if sum(job.state is State.WAITING for job in self._jobs.values()) >= MOST_WAITING:
                raise Busy
            key = secrets.token_urlsafe(16)
            job = Job(key, photo, options, self._folder / key)
            job.folder.mkdir()
            self._jobs[key] = job
            self._forget()
        self._waiting.put(job)
        return job

    def job(self, key: str) -> Job:
        """Raises KeyError where there is none, or no longer."""
        with self._lock:
            return self._jobs[key]

    def give_up(self, key: str) -> None:
        """End a job after its present tile, or before it begins; one that is over stays. Raises KeyError."""
        job = self.job(key)
        job.unwanted = True
        with self._lock:
            if job.state is State.WAITING:
                job.state, job.doing = State.CANCELLED, "given up"

    def _forget(self) -> None:
        """Remove the oldest jobs that are over."""
        over = [key for key, job in self._jobs.items() if job.over]
        for key in over[: max(0, len(self._jobs) - MOST_JOBS)]:
            shutil.rmtree(self._jobs.pop(key).folder, ignore_errors=True)

    def _run(self) -> None:
        while (job := self._waiting.get()) is not None:
            with self._lock:
                if job.state is not State.WAITING:
                    continue
                job.state = State.RUNNING
            state, said = self._outcome(job)
            with self._lock:
                job.state, job.doing = state, said

    def _outcome(self, job: Job) -> tuple[State, str]:
        try:
            self._work(job)
        except Cancelled:
            return State.CANCELLED, "given up"
        except UserError as problem:
            return State.FAILED, str(problem)
        except MemoryError:
            return State.FAILED, "there is too little memory: take a smaller photo, or start with a smaller --tile"
        except Exception as error:  # the page is told, and the next job is done
            logger.exception("a restoration failed")
            with suppress(Exception):
                _free_gpu()
            return State.FAILED, f"the model failed: {type(error).__name__}: {error}"
        job.share = 1.0
        return State.DONE, ""


def _free_gpu() -> None:
    """What a job that ran out of a GPU's memory had of it."""
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
