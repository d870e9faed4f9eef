"""SSIMULACRA2 (Sneyers 2022), by the package `ssimulacra2`: one 8-bit picture at a time.

It stops before the scale at which a side is below 8 px, and its weights, which follow one another, then stand at other
terms. So pictures whose sixth scale is smaller are continued by their mirror image, HR and candidate alike.
"""

import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from components.artifacts.images import to_8bit
from components.metrics.base import Context, check_inputs, digest_of, need
from components.metrics.table import MetricInfo

_REVISION = 1
_WHOLE = 225
"""Shortest side, px, that still has 8 px after being halved five times, rounded up."""


class Ssimulacra2:
    """100 for equal pictures; 90 is visually lossless, 30 low quality, below 0 very strong distortion."""

    def __init__(self, row: MetricInfo, device: torch.device, folder: Path) -> None:
        from ssimulacra2 import compute_ssimulacra2  # noqa: PLC0415  # an extra

        self.info = row
        self.device = device
        self.digest = digest(row, folder)
        self._compute = compute_ssimulacra2

    def prepare(self, hr: torch.Tensor | None, lr: torch.Tensor | None) -> Context:
        """See `Metric.prepare`."""
        return Context(need(self.info, hr, "HR image").cpu(), None)

    def __call__(self, candidates: torch.Tensor, context: Context) -> torch.Tensor:
        """See `Metric.__call__`."""
        hr = need(self.info, context.hr, "HR image")
        check_inputs(self.info, candidates, hr)
        reference = whole(to_8bit(hr)[0])
        values = [self._compute(_file(reference), _file(whole(image))) for image in to_8bit(candidates)]
        return torch.tensor(values, dtype=torch.float32)


def whole(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`[H, W, 3]`, continued by its mirror image to the right and below until all six scales fit."""
    missing = [max(0, _WHOLE - side) for side in image.shape[:2]]
    return np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")


def _file(image: NDArray[np.uint8]) -> io.BytesIO:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "BMP")
    buffer.seek(0)
    return buffer


def digest(row: MetricInfo, folder: Path) -> str:
    """What `build` gives its metric as digest, see `base.digest`."""
    return digest_of(row, folder, _REVISION)


def build(row: MetricInfo, device: torch.device, folder: Path) -> Ssimulacra2:
    """The adapter of `row`, see `base.load`."""
    return Ssimulacra2(row, device, folder)
