"""Candidates of one LR, batched over seeds."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from components.artifacts.images import to_8bit
from components.backbones.base import Backbone, Source, candidate_noise
from components.backbones.colour import ColourFix
from components.backbones.restore import restore

CODE_VERSION = "2"
"""Raised whenever the same weights, settings and noise would give other pixels."""


@dataclass(frozen=True)
class Candidate:
    """8-bit image `[H, W, 3]`, colour-fixed; the latent x0 it was decoded from, None for a backbone without latents."""

    image: NDArray[np.uint8]
    latent: torch.Tensor | None


def sample_candidates(
    backbone: Backbone,
    lr: torch.Tensor,
    prompt: str,
    lr_id: str,
    indexes: range,
    batch: int,
    colour_fix: ColourFix,
    source: Source = "reference",
    number: int = 1,
) -> list[Candidate]:
    """Candidates of one LR `[1, 3, h, w]` in [0, 1].

    Each candidate's noise is a function of (lr_id, index) and the round `number`; `batch` bounds memory and does not
    change a pixel.
    """
    draws = [partial(candidate_noise, lr_id, index, number=number) for index in indexes]
    candidates: list[Candidate] = []
    for samples in restore(backbone, lr, (prompt,), draws, colour_fix, source, batch=batch):
        images = to_8bit(samples.images)
        latents = [None] * len(images) if samples.latents is None else samples.latents.cpu()
        candidates.extend(Candidate(image, latent) for image, latent in zip(images, latents, strict=True))
    return candidates
