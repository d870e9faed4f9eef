"""What an LR image is like, as four numbers of its pixels. Pure functions of 8-bit RGB `[H, W, 3]`.

Taken from pixels alone, because the training set's LR images have no file of their own, and what comes in is kept as
pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Plane = NDArray[np.float64]

_BLOCK = 8
"""Side of a JPEG block, px."""
_NORMAL_MAD = 0.6744897501960817
"""Median of |x| for a standard normal x."""


def sharpness(picture: Picture) -> float:
    """Base-10 logarithm of the variance of the luma's Laplacian, plus one: low where blurred, 0 where flat.

    The logarithm, because blur divides the variance and sensors multiply it.
    """
    return float(np.log10(1.0 + cv2.Laplacian(_luma(picture), cv2.CV_64F, ksize=1)[1:-1, 1:-1].var()))


def noise(picture: Picture) -> float:
    """Standard deviation of the noise, grey levels: the robust estimate of Donoho and Johnstone (1994).

    Median of the absolute diagonal coefficients of the luma's Haar transform, over .6745. The diagonal band holds
    little of a photo but its noise; strong texture reads as noise.
    """
    luma = _luma(picture)
    even = luma[: luma.shape[0] // 2 * 2, : luma.shape[1] // 2 * 2]
    diagonal = (even[::2, ::2] - even[::2, 1::2] - even[1::2, ::2] + even[1::2, 1::2]) / 2
    return float(np.median(np.abs(diagonal)) / _NORMAL_MAD)


def blockiness(picture: Picture) -> float:
    """How much larger steps are at the borders of 8 px blocks than elsewhere, as log2: 0 without JPEG, higher with
    more of it.

    The grid's phase is not known after a crop: the strongest of the eight is taken, in both directions. 0 for a picture
    too small to have two borders, and for a flat one.
    """
    luma = _luma(picture)
    found = []
    for plane in (luma, luma.T):
        steps = np.abs(np.diff(plane, axis=1)).mean(axis=0)
        if len(steps) < 2 * _BLOCK:
            continue
        phases = np.array([steps[phase::_BLOCK].mean() for phase in range(_BLOCK)])
        strongest = int(np.argmax(phases))
        others = np.delete(phases, strongest).mean()
        found.append(np.log2((phases[strongest] + 0.5) / (others + 0.5)))  # half a grey level: rounding is no step
    return float(np.mean(found)) if found else 0.0


STATISTICS = {"sharpness": sharpness, "noise": noise, "blockiness": blockiness}
"""By name; the NR score is the fourth, and needs a network."""

ABOUT = {
    "sharpness": "log₁₀ of the Laplacian's variance; lower is more blurred",
    "noise": "robust standard deviation, grey levels",
    "blockiness": "log₂ of steps at 8 px borders over other steps; higher is more JPEG",
    "score": "NR metric of the enlarged picture; higher is better",
}


def measure(picture: Picture) -> dict[str, float]:
    """All of `STATISTICS`."""
    return {name: function(picture) for name, function in STATISTICS.items()}


def _luma(picture: Picture) -> Plane:
    luma: Plane = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64)
    return luma
