"""One picture that shows what a restoration changed: the LR enlarged, the base's, and the restoration itself."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GUTTER = 8
"""White px between two pictures."""


def comparison_path(output: Path) -> Path:
    """Where the comparison of a restoration goes: a PNG beside it."""
    return output.with_name(f"{output.stem}-compare.png")


def side_by_side(lr: NDArray[np.uint8], base: NDArray[np.uint8], restored: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`[H, 3 W + 2 GUTTER, 3]` of 8-bit RGB `[h, w, 3]` and twice `[H, W, 3]`; the LR is enlarged bicubically."""
    height, width = restored.shape[:2]
    enlarged = np.asarray(Image.fromarray(lr).resize((width, height), Image.Resampling.BICUBIC))
    gutter = np.full((height, GUTTER, 3), 255, np.uint8)
    return np.concatenate([enlarged, gutter, base, gutter, restored], axis=1)
