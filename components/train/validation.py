"""Validation reward: a few images of the validation split on fixed noise, under a normaliser fixed at step 0."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from components.artifacts.images import to_8bit, to_tensor
from components.backbones.base import Backbone, Branch, candidate_noise
from components.backbones.colour import ColourFix
from components.backbones.restore import restore
from components.errors import BadInput
from components.judge.guards import GUARDS
from components.metrics.suite import Suite
from components.rewards.normaliser import FixedNormaliser


@dataclass(frozen=True)
class ValidationImage:
    """LR `[1, 3, h, w]` and, where there is one, HR `[1, 3, H, W]`, both in [0, 1]."""

    lr_id: str
    lr: Tensor
    hr: Tensor | None
    prompt: str


Scores = dict[str, np.ndarray]
"""Raw values of an image's samples, by metric."""

Share = Callable[[Sequence[ValidationImage], Callable[[Sequence[ValidationImage]], list[Scores]]], list[Scores]]
"""Does a function for all images, wherever; see `processes.share`."""


class Validation:
    """Scores the policy; the reference's own candidates fix the normaliser, so rewards of all steps compare.

    Args:
        images: of one size.
        seeds: samples an image.
        suite: the rewarded metrics, and those that a limit is set on.
        rewarded: the former.
        guards: names of guards (`judge.guards`) that a limit is set on.
        share: deals the images to several processes, which then all call `measure` together.
    """

    def __init__(
        self,
        images: Sequence[ValidationImage],
        seeds: int,
        suite: Suite,
        colour_fix: ColourFix,
        share: Share = lambda images, score: score(images),
        rewarded: Sequence[str] | None = None,
        guards: Sequence[str] = (),
    ) -> None:
        self._images = images
        self._seeds = seeds
        self._suite = suite
        self._colour_fix = colour_fix
        self._share = share
        self._rewarded = list(suite.names if rewarded is None else rewarded)
        self._guards = list(guards)
        self._normaliser: FixedNormaliser | None = None

    def measure(self, backbone: Backbone) -> dict[str, float]:
        """Mean reward, and the mean of each metric and guard, of the policy.

        Raises:
            BadInput: a metric cannot judge a sample.
        """
        if self._normaliser is None:
            self._normaliser = FixedNormaliser.fit(self._of_reward(self._score(backbone, "reference")))
        scores = self._score(backbone, "policy")
        rewards = self._normaliser.apply(self._of_reward(scores))
        return {"reward": float(np.mean(rewards)), **{name: float(np.mean(raw)) for name, raw in scores.items()}}

    @property
    def metrics_digest(self) -> str:
        """sha256 of the metrics that choose the best checkpoint."""
        return self._suite.digest

    def _of_reward(self, scores: Scores) -> Scores:
        return {name: scores[name] for name in self._rewarded}

    def _score(self, backbone: Backbone, branch: Branch) -> Scores:
        by_image = self._share(self._images, lambda images: self._score_images(backbone, branch, images))
        return {name: np.concatenate([scores[name] for scores in by_image]) for name in by_image[0]}

    def _score_images(self, backbone: Backbone, branch: Branch, images: Sequence[ValidationImage]) -> list[Scores]:
        # Another name space than the training candidates': validation must not reward a memorised noise.
        draws = [
            partial(candidate_noise, f"validation:{image.lr_id}", index)
            for image in images
            for index in range(self._seeds)
        ]
        lrs, prompts = torch.cat([image.lr for image in images]), tuple(image.prompt for image in images)
        (samples,) = restore(backbone, lrs, prompts, draws, self._colour_fix, branch)
        pictures = to_8bit(samples.images)
        collected = []
        for number, image in enumerate(images):
            own = pictures[number * self._seeds : (number + 1) * self._seeds]
            scores = self._suite.score(to_tensor(*own), image.hr, image.lr)
            if scores.failures:
                failure = scores.failures[0]
                raise BadInput(
                    f"metric {failure.metric} gave no score ({failure.reason}: {failure.detail}) on validation image "
                    f"{image.lr_id}: look at the model's samples, or change score.fr and score.nr"
                )
            lr = to_8bit(image.lr)[0]
            guarded = {name: np.array([GUARDS[name](picture, lr) for picture in own]) for name in self._guards}
            collected.append(scores.values | guarded)
        return collected
