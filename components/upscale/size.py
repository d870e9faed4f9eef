"""How large a restored picture becomes: the model's factor, or less."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.errors import BadInput
from components.upscale.carried import Pixels

LANCZOS = Image.Resampling.LANCZOS


@dataclass(frozen=True)
class Size:
    """At most one is given; without any it is the model's factor.

    Attributes:
        factor: of width and height.
        width: px.
        megapixels: 10^6 px.
    """

    factor: float | None = None
    width: int | None = None
    megapixels: float | None = None

    def __post_init__(self) -> None:
        given = {"--scale": self.factor, "--width": self.width, "--megapixels": self.megapixels}
        named = [name for name, value in given.items() if value is not None]
        if len(named) > 1:
            raise BadInput(f"{' and '.join(named)} contradict each other: give one of them")
        wrong = [name for name, value in given.items() if value is not None and not (0 < value < math.inf)]
        if wrong:
            raise BadInput(f"{wrong[0]} {given[wrong[0]]}: give a number above 0")

    def of(self, width: int, height: int, scale: int) -> tuple[int, int]:
        """Width and height of a picture of `width` × `height` px, which the model enlarges `scale` times.

        Raises:
            BadInput: it would have to be larger than the model makes it.
        """
        factor = float(scale)
        if self.factor is not None:
            factor = self.factor
        elif self.width is not None:
            factor = self.width / width
        elif self.megapixels is not None:
            factor = math.sqrt(self.megapixels * 1e6 / (width * height))
        if factor > scale * (1 + 1e-9):
            raise BadInput(
                f"{width} x {height} px times {factor:.3g} is more than the model's factor {scale}: "
                "ask for less, or restore the result once more"
            )
        wide = self.width if self.width is not None else round(width * factor)
        return max(1, wide), max(1, round(height * factor))


def resized(image: Pixels, size: tuple[int, int]) -> Pixels:
    """RGB `[H, W, 3]` with `size`, width and height, by Lanczos; as it is where it has that size."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    if image.dtype == np.uint16:
        deep = image.astype(np.uint16, copy=False)
        return np.stack([resized_16(deep[..., channel], size, LANCZOS) for channel in range(3)], axis=-1)
    return np.asarray(Image.fromarray(image).resize(size, LANCZOS))


def resized_16(channel: NDArray[np.uint16], size: tuple[int, int], how: Image.Resampling) -> NDArray[np.uint16]:
    """One channel of 16 bits, `[H, W]`, with `size`."""
    found = np.asarray(Image.fromarray(channel.astype(np.float32)).resize(size, how))
    return found.clip(0, 65535).round().astype(np.uint16)
