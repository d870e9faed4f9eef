"""What is asked for each picture: how base and aligned are mixed, and how many seeds are chosen from."""

from collections.abc import Sequence
from dataclasses import dataclass

from components.errors import BadInput
from components.metrics.suite import Suite
from components.rewards.alignment import rewarded_metrics
from components.settings import MixtureSettings, ScoreSettings
from components.upscale.carried import Pixels
from components.upscale.choice import Rated, best_of
from components.upscale.upscaler import Upscaler

PLAIN = MixtureSettings()
"""The aligned model alone."""


def judge_of(score: ScoreSettings, device: str) -> Suite:
    """The rewarded metrics that need no HR.

    Raises:
        BadInput: there is none but `lr_consistency`, or one lacks its weights.
    """
    if not score.nr:
        raise BadInput("--best-of: score.nr of params.yaml names no metric, and a photo without HR has no other judge")
    return Suite.load(rewarded_metrics(score.fr, score.nr, has_hr=False), device)


@dataclass(frozen=True)
class Request:
    """Called with a picture.

    Attributes:
        seeds: of the noise; of several the one that is rewarded most is kept.
        prompt: None has the upscaler write one.
        suite: what judges several seeds.
    """

    upscaler: Upscaler
    seeds: range
    prompt: str | None = None
    mixture: MixtureSettings = PLAIN
    suite: Suite | None = None

    def __call__(self, lr: Pixels, progress: bool = False) -> tuple[Pixels, list[Rated]]:
        """RGB `[h, w, 3]` to `[scale * h, scale * w, 3]`, and what each seed got; nothing where there is one.

        Raises:
            BadInput: as `Upscaler` and `best_of`.
        """
        if self.suite is None:
            return self._made(lr, self.seeds[0], self.mixture, progress), []
        return best_of(lambda seed: self._made(lr, seed, self.mixture, progress), lr, self.seeds, self.suite)

    def base(self, lr: Pixels, seed: int) -> Pixels:
        """The base's picture of the same noise.

        Raises:
            BadInput: the model was stored without it.
        """
        return self._made(lr, seed, MixtureSettings(strength=0.0), progress=True)

    @property
    def described(self) -> Sequence[object]:
        """What determines the result beside model and seed; nothing for the aligned model's own picture."""
        mixed = [] if self.mixture == PLAIN else [self.mixture.model_dump()]
        return [*mixed, *([] if self.suite is None else [len(self.seeds), self.suite.digest])]

    def _made(self, lr: Pixels, seed: int, mixture: MixtureSettings, progress: bool) -> Pixels:
        return self.upscaler(lr, seed, progress=progress, prompt=self.prompt, mixture=mixture)
