"""Bicubic resizing as convolutions, which every format has; the same numbers as torch's own to rounding.

Exporters have no antialiased bicubic, and runtimes disagree about the other one's borders. By a whole factor both are
convolutions: enlarging is one of 5 x 5 a phase, with the edge repeated (Keys, 1981, a = -0.75, as torch has it), and
reducing one of 4 d x 4 d with stride d and a = -0.5, whose taps outside of the picture are left out and the others
scaled to 1.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from components.errors import BadInput

ENLARGING, REDUCING = -0.75, -0.5
"""Keys' a."""
TAPS = 5
"""Neighbours that all phases of an enlarging see together, per side."""


class AsConvolutions(TorchFunctionMode):
    """Within, bicubic `F.interpolate` by a whole factor is a convolution."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.interpolate or kwargs.get("mode") != "bicubic":
            return func(*args, **kwargs)
        image = args[0]
        ratio = kwargs.get("scale_factor") or int(kwargs["size"][-1]) / int(image.shape[-1])
        if kwargs.get("antialias") and ratio < 1.0:
            return reduced(image, _whole(1.0 / ratio))
        return enlarged(image, _whole(ratio))


def enlarged(image: Tensor, factor: int) -> Tensor:
    """`[B, C, h, w]` to `[B, C, factor * h, factor * w]`: bicubic, without antialiasing, corners not aligned."""
    channels = int(image.shape[1])
    padded = F.pad(image, (TAPS // 2,) * 4, mode="replicate")
    return F.pixel_shuffle(F.conv2d(padded, _phases(factor, channels), groups=channels), factor)


def reduced(image: Tensor, factor: int) -> Tensor:
    """`[B, C, H, W]`, sides multiples of `factor`, to `[B, C, H/factor, W/factor]`: bicubic with antialiasing."""
    channels = int(image.shape[1])
    summed = F.conv2d(image, _window(factor, channels), stride=factor, padding=2 * factor, groups=channels)
    inside = F.conv2d(torch.ones_like(image[:, :1]), _window(factor, 1), stride=factor, padding=2 * factor)
    return summed / inside


@cache
def _phases(factor: int, channels: int) -> Tensor:
    """Kernels `[channels * factor^2, 1, TAPS, TAPS]`; made once, so that what traces them sees numbers."""
    half = TAPS // 2
    phases = (torch.arange(factor) + 0.5) / factor - 0.5
    row = _cubic(torch.arange(-half, half + 1) - phases[:, None], ENLARGING)
    kernel = (row[:, None, :, None] * row[None, :, None, :]).reshape(factor**2, 1, TAPS, TAPS)
    return kernel.repeat(channels, 1, 1, 1)


@cache
def _window(factor: int, channels: int) -> Tensor:
    """Kernels `[channels, 1, 5 * factor, 5 * factor]`, some of whose outer taps are 0."""
    places = torch.arange(-2 * factor, 3 * factor)
    row = _cubic((places + 0.5 - factor / 2) / factor, REDUCING)
    return (row[:, None] * row[None, :])[None, None].repeat(channels, 1, 1, 1)


def _cubic(distance: Tensor, a: float) -> Tensor:
    """Keys' kernel."""
    x = distance.abs()
    near = (a + 2.0) * x**3 - (a + 3.0) * x**2 + 1.0
    far = a * (x**3 - 5.0 * x**2 + 8.0 * x - 4.0)
    return torch.where(x <= 1.0, near, torch.where(x < 2.0, far, torch.zeros_like(x)))


def _whole(factor: float) -> int:
    whole = round(factor)
    if abs(factor - whole) > 1e-6 or whole < 1:
        raise BadInput(
            f"this model resizes by {factor:g}, and only whole factors can be exported to onnx or torchscript: use its "
            "folder with this project"
        )
    return whole
