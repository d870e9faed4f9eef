"""Candidates of one LR, batched over seeds."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from components.artifacts.images import to_8bit
from components.backbones.base import Backbone, Branch, candidate_noise, sample_rows
from components.backbones.colour import ColourFix, fix_colours

CODE_VERSION = "2"
"""Raised whenever the same weights, settings and noise would give other pixels."""


@dataclass(frozen=True)
class Candidate:
    """8-bit image `[H, W, 3]`, colour-fixed; the latent x0 it was decoded from, None for a backbone without latents."""

    image: NDArray[np.uint8]
    latent: torch.Tensor | None


@torch.no_grad()
def sample_candidates(
    backbone: Backbone,
    lr: torch.Tensor,
    prompt: str,
    lr_id: str,
    indexes: range,
    batch: int,
    colour_fix: ColourFix,
    branch: Branch = "reference",
) -> list[Candidate]:
    """Candidates of one LR `[1, 3, h, w]` in [0, 1].

    Each candidate's noise is a function of (lr_id, index); `batch` bounds memory and does not change a pixel.
    """
    condition = backbone.condition(lr, (prompt,))
    height, width = condition.upsampled.shape[-2:]
    shape = backbone.noise_shape(height, width)
    candidates: list[Candidate] = []
    for start in range(indexes.start, indexes.stop, batch):
        part = range(start, min(start + batch, indexes.stop))
        noise = torch.stack([candidate_noise(lr_id, index, shape) for index in part])
        samples = sample_rows(backbone, condition.repeat(len(part)), noise, branch)
        images = to_8bit(fix_colours(samples.images, condition.upsampled, colour_fix))
        latents = [None] * len(part) if samples.latents is None else samples.latents.cpu()
        candidates.extend(Candidate(image, latent) for image, latent in zip(images, latents, strict=True))
    return candidates
