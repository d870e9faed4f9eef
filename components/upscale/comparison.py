"""One picture that shows what a restoration changed: the LR enlarged, the base's, and the restoration itself."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.artifacts.depth import as_8bit
from components.upscale.carried import Pixels

GUTTER = 8
"""White px between two pictures."""


def comparison_path(output: Path) -> Path:
    """Where the comparison of a restoration goes: a PNG beside it."""
    return output.with_name(f"{output.stem}-compare.png")


def side_by_side(lr: Pixels, base: Pixels, restored: Pixels) -> NDArray[np.uint8]:
    """8-bit `[H, 3 W + 2 GUTTER, 3]` of RGB `[h, w, 3]` and twice `[H, W, 3]`; the LR is enlarged bicubically."""
    lr, base, restored = as_8bit(lr), as_8bit(base), as_8bit(restored)
    height, width = restored.shape[:2]
    enlarged = np.asarray(Image.fromarray(lr).resize((width, height), Image.Resampling.BICUBIC))
    gutter = np.full((height, GUTTER, 3), 255, np.uint8)
    return np.concatenate([enlarged, gutter, base, gutter, restored], axis=1)
