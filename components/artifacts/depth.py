"""Pixels of 16 bits as pixels of 8; without torch, for those who decode."""

import numpy as np
from numpy.typing import NDArray


def as_8bit(image: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    """8 or 16 bits with 8 bits, rounded to nearest."""
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    return _NEAREST[image]


_NEAREST = ((np.arange(65536, dtype=np.int64) * 255 + 32767) // 65535).astype(np.uint8)
