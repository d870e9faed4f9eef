"""Validation reward: a few images of the validation split on fixed noise, under a normaliser fixed at step 0."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from components.artifacts.images import to_8bit, to_tensor
from components.backbones.base import Backbone, candidate_noise
from components.backbones.colour import ColourFix, fix_colours
from components.metrics.reward import FixedNormaliser
from components.metrics.suite import Suite


@dataclass(frozen=True)
class ValidationImage:
    """LR `[1, 3, h, w]` and, where there is one, HR `[1, 3, H, W]`, both in [0, 1]."""

    lr_id: str
    lr: Tensor
    hr: Tensor | None
    prompt: str


class Validation:
    """Scores the policy; the reference's own candidates fix the normaliser, so rewards of all steps compare."""

    def __init__(self, images: Sequence[ValidationImage], seeds: int, suite: Suite, colour_fix: ColourFix) -> None:
        self._images = images
        self._seeds = seeds
        self._suite = suite
        self._colour_fix = colour_fix
        self._normaliser: FixedNormaliser | None = None

    def measure(self, backbone: Backbone) -> dict[str, float]:
        """Mean reward, and the mean of each rewarded metric, of the policy."""
        if self._normaliser is None:
            self._normaliser = FixedNormaliser.fit(self._score(backbone, "reference"))
        scores = self._score(backbone, "policy")
        rewards = self._normaliser.apply(scores)
        return {"reward": float(np.mean(rewards)), **{name: float(np.mean(raw)) for name, raw in scores.items()}}

    def _score(self, backbone: Backbone, branch: str) -> dict[str, np.ndarray]:
        collected: dict[str, list[np.ndarray]] = {}
        for image in self._images:
            condition = backbone.condition(image.lr, (image.prompt,))
            shape = backbone.noise_shape(*condition.upsampled.shape[-2:])
            # Another name space than the training candidates': validation must not reward a memorised noise.
            noise = torch.stack(
                [candidate_noise(f"validation:{image.lr_id}", index, shape) for index in range(self._seeds)]
            )
            samples = backbone.sample(
                condition.repeat(self._seeds), noise, "policy" if branch == "policy" else "reference"
            )
            fixed = fix_colours(samples.images, condition.upsampled, self._colour_fix)
            candidates = to_tensor(*to_8bit(fixed))
            for name, values in self._suite.score(candidates, image.hr, image.lr).values.items():
                collected.setdefault(name, []).append(values)
        return {name: np.concatenate(values) for name, values in collected.items()}
