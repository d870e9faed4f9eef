"""Colour fix: give a restoration the colours of its LR, before it is scored and whenever it is shown."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

ColourFix = Literal["none", "adain", "wavelet"]

WAVELET_LEVELS = 5


def fix_colours(images: Tensor, upsampled: Tensor, how: ColourFix) -> Tensor:
    """Restorations `[M, 3, H, W]` in [0, 1] with the colours of `upsampled` `[M or 1, 3, H, W]`.

    `adain` matches each channel's mean and standard deviation (Huang and Belongie, arXiv 1703.06868); `wavelet`
    replaces the low frequencies, a five-level blur pyramid (as in StableSR, arXiv 2305.07015).
    """
    if how == "none":
        return images
    fix = _match_moments if how == "adain" else _replace_low_frequencies
    # One by one: sums and convolutions over a batch are ordered by its size, and a candidate's bits must not depend on
    # how many there are.
    pairs = zip(images.split(1), upsampled.expand(len(images), -1, -1, -1).split(1), strict=True)
    return torch.cat([fix(image, wanted) for image, wanted in pairs]).clamp(0.0, 1.0)


def _match_moments(images: Tensor, upsampled: Tensor) -> Tensor:
    mean, std = _moments(images)
    wanted_mean, wanted_std = _moments(upsampled)
    return (images - mean) / std * wanted_std + wanted_mean


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and sqrt(variance + 1e-5) of each channel, as AdaIN's authors' code has it."""
    variance, mean = torch.var_mean(images, dim=(2, 3), keepdim=True)
    return mean, (variance + 1e-5).sqrt()


def _replace_low_frequencies(images: Tensor, upsampled: Tensor) -> Tensor:
    return images - _low_frequencies(images) + _low_frequencies(upsampled)


def _low_frequencies(images: Tensor) -> Tensor:
    """What is left of `images` after WAVELET_LEVELS dilated 3x3 binomial blurs."""
    row = images.new_tensor([0.25, 0.5, 0.25])
    kernel = (row[:, None] * row[None, :]).expand(3, 1, 3, 3)
    for level in range(WAVELET_LEVELS):
        reach = 2**level
        padded = F.pad(images, (reach,) * 4, mode="replicate")
        images = F.conv2d(padded, kernel, groups=3, dilation=reach)
    return images
