"""Where to cut a photo: crops with texture, and some smooth ones, chosen by their content alone."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

TEXTURED_SHARE = 0.75
"""Share of a photo's crops that are its most textured; the rest spread over its smoother ones: both must be learned."""


def texture(crop: NDArray[np.uint8]) -> float:
    """Mean absolute 3×3 Laplacian of the luma of a crop [H, W, 3], grey levels; 0 if it is flat or linearly shaded."""
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(cv2.Laplacian(luma, cv2.CV_32F, ksize=1)[1:-1, 1:-1]).mean())


def choose_crops(photo: NDArray[np.uint8], side: int, count: int) -> list[tuple[int, int]]:
    """Top-left corners (x, y) of at most `count` crops that do not overlap.

    The photo is divided into whole cells of `side`, centred. Three quarters of the crops are the most textured cells;
    the others are spread evenly over the remaining, smoother ones.

    Args:
        photo: uint8 [H, W, 3].
        side: width and height of a crop, pixels.
        count: most crops wanted, 1 or more.

    Returns:
        Corners in reading order; fewer than `count` if the photo has fewer cells, none if it is smaller than one.
    """
    height, width = photo.shape[:2]
    columns, rows = width // side, height // side
    left, top = (width - columns * side) // 2, (height - rows * side) // 2
    cells = [(left + column * side, top + row * side) for row in range(rows) for column in range(columns)]
    # a stable sort: cells of equal texture stay in reading order
    ranked = sorted(cells, key=lambda cell: -texture(photo[cell[1] : cell[1] + side, cell[0] : cell[0] + side]))
    wanted = min(count, len(cells))
    textured = math.ceil(wanted * TEXTURED_SHARE)
    smoother = ranked[textured:]
    others = wanted - textured
    spread = [smoother[(2 * i + 1) * len(smoother) // (2 * others)] for i in range(others)]
    return sorted(ranked[:textured] + spread, key=lambda cell: (cell[1], cell[0]))
