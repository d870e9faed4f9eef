"""What a decoder's process makes of a photo: the least that whoever asks has to know of it.

Each is a function of the file's bytes and its pixels, uint8 [H, W, 3], and gives JSON values and pixels, uint8. A
package above this one brings its own (`components.intake.examine`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.photos.crops import choose_crops
from components.storage import digests

Answer = tuple[dict[str, Any], NDArray[np.uint8]]
NOTHING = np.zeros(0, np.uint8)


def pixels(data: bytes, photo: NDArray[np.uint8]) -> Answer:
    """All of it, [H, W, 3]."""
    return {}, photo


def digest(data: bytes, photo: NDArray[np.uint8]) -> Answer:
    """`digests.of_pixels`."""
    return {"digest": digests.of_pixels(photo)}, NOTHING


def crops(
    data: bytes, photo: NDArray[np.uint8], side: int, count: int, within: tuple[int, int] | None = None
) -> Answer:
    """`choose_crops`, and the pixels of the crops, [N, side, side, 3]; of the upper left part of so many rows and
    columns where `within` says so."""
    part = photo if within is None else photo[: within[0], : within[1]]
    return cut(data, photo, choose_crops(part, side, count), side)


def cut(data: bytes, photo: NDArray[np.uint8], corners: list[tuple[int, int]], side: int) -> Answer:
    """The pixels of the crops whose upper left corners are given, [N, side, side, 3]."""
    found = [photo[y : y + side, x : x + side] for x, y in corners]
    return {"corners": corners}, np.stack(found) if found else np.zeros((0, side, side, 3), np.uint8)
