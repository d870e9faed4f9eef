"""One face for everything that is compared: a model's branch with its noise, or a peer."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from components.artifacts import digests
from components.artifacts.images import to_8bit, to_tensor
from components.backbones.base import Backbone, Branch, candidate_noise, sample_rows
from components.backbones.colour import ColourFix, fix_colours
from components.judge.images import EvaluationImage

CODE_VERSION = "2"
"""Raised whenever the same weights, settings and noise would give other pixels: older cached results are not used."""

Restorations = list[NDArray[np.uint8]]


@dataclass(frozen=True)
class Restorer:
    """Makes the restorations of an image.

    Attributes:
        name: as in reports/evaluation.parquet.
        digest: sha256 of all that determines the restorations of an image: weights, sampler, number of seeds, code.
        weights_digest: sha256 of the weights alone.
        restore: an image to its restorations, 8-bit `[H, W, 3]`; the position in the list is the index.
    """

    name: str
    digest: str
    weights_digest: str
    restore: Callable[[EvaluationImage], Restorations]


def model_restorer(
    name: str, backbone: Backbone, branch: Branch, *, seeds: int, batch: int, colour_fix: ColourFix
) -> Restorer:
    """`seeds` samples an image from one branch, `batch` a network call.

    The noise of sample i is a function of (lr_id, i) alone, the same for every model, in another name space than that
    of training candidates: a model cannot be judged on a noise it was trained with.
    """

    def restore(image: EvaluationImage) -> Restorations:
        condition = backbone.condition(to_tensor(image.lr), (image.prompt,))
        shape = backbone.noise_shape(*condition.upsampled.shape[-2:])
        restored: Restorations = []
        for start in range(0, seeds, batch):
            indexes = range(start, min(start + batch, seeds))
            noise = torch.stack([candidate_noise(f"evaluate:{image.lr_id}", index, shape) for index in indexes])
            samples = sample_rows(backbone, condition.repeat(len(indexes)), noise, branch)
            restored.extend(to_8bit(fix_colours(samples.images, condition.upsampled, colour_fix)))
        return restored

    weights = backbone.digest(branch)
    digest = digests.of_json([CODE_VERSION, weights, backbone.sampler_digest(), colour_fix, seeds])
    return Restorer(name, digest, weights, restore)
