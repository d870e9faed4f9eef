"""What is done for one job: the base's picture, one a seed, and what the metrics say of them."""

import time
from collections.abc import Callable

import numpy as np

from components.artifacts.depth import as_8bit
from components.errors import BadInput
from components.metrics.suite import Suite
from components.settings import MixtureSettings
from components.studio.job import Job
from components.upscale.carried import Pixels
from components.upscale.choice import ranked, scores_of
from components.upscale.upscaler import Upscaler

BASE = "base"
"""Name of the base's picture among those of the seeds."""


class Restorer:
    """Works on one job at a time.

    Args:
        judge: loads the metrics that need no HR, when they are first wanted.
        prompt: None has the upscaler write one.
    """

    def __init__(self, upscaler: Upscaler, judge: Callable[[], Suite], prompt: str | None = None) -> None:
        self.upscaler, self.prompt = upscaler, prompt
        self._suite = _Late(judge)

    def __call__(self, job: Job) -> None:
        """Leave the job's pictures in its folder, and say in it how far it is.

        Raises:
            BadInput: the picture cannot be restored as it is asked for.
            Cancelled: the job was given up.
        """
        started = time.monotonic()
        with_base = self.upscaler.has_base
        steps = _Steps(job, job.options.seeds * (2 if job.options.seeds > 1 else 1) + with_base)
        for number, seed in enumerate(job.options.all_seeds):
            steps.begin(f"restoring, {number + 1} of {job.options.seeds}" if job.options.seeds > 1 else "restoring")
            np.save(job.folder / f"{seed}.npy", self._made(job, seed, job.options.mixture, steps))
            job.ready.append(seed)
        if with_base:
            steps.begin("restoring with the base")
            base = self._made(job, job.options.seed, MixtureSettings(strength=0.0), steps)
            np.save(job.folder / f"{BASE}.npy", base)
            job.has_base = True
        if job.options.seeds > 1:
            self._judge(job, steps)
        job.seconds = time.monotonic() - started

    def _made(self, job: Job, seed: int, mixture: MixtureSettings, steps: "_Steps") -> Pixels:
        return self.upscaler(job.photo.pixels, seed, prompt=self.prompt, mixture=mixture, after_tile=steps.within)

    def _judge(self, job: Job, steps: "_Steps") -> None:
        try:
            steps.begin("loading the metrics", counts=False)
            suite = self._suite()
            found = []
            for seed in job.ready:
                steps.begin(f"scoring seed {seed}")
                picture = as_8bit(np.load(job.folder / f"{seed}.npy"))
                found.append(scores_of(picture, as_8bit(job.photo.pixels), suite, seed))
            job.rated = ranked(job.ready, found)
        except BadInput as problem:
            job.note = f"no rewards: {problem}"


class _Late:
    """Metrics that are loaded when they are first asked for."""

    def __init__(self, load: Callable[[], Suite]) -> None:
        self._load = load
        self._suite: Suite | None = None

    def __call__(self) -> Suite:
        if self._suite is None:
            self._suite = self._load()
        return self._suite


class _Steps:
    """Tells a job how far it is: so many steps of one length each."""

    def __init__(self, job: Job, count: int) -> None:
        self._job, self._count, self._begun = job, count, 0

    def begin(self, what: str, counts: bool = True) -> None:
        """The next step."""
        self._job.check()
        self._job.doing = what
        self._job.share = self._begun / self._count
        self._begun += counts

    def within(self, done: int, of: int) -> None:
        """So many parts of the step are done."""
        self._job.check()
        self._job.share = (self._begun - 1 + done / of) / self._count
