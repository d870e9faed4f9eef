"""The pictures that a metric is tried on: crops of photos, each degraded in four ways and four strengths."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import skimage
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from components.artifacts.images import to_tensor
from components.errors import BadInput

Pixels = NDArray[np.uint8]

SHIPPED = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
"""Photos that scikit-image brings: they are there wherever this runs."""
WITH_TEXT = ("page.png",)
"""And a printed page, for metrics that most photos say nothing to."""
CROPS = 3
"""Of each photo: the corners and the middle have different things on them."""
LR_SCALE = 4


@dataclass(frozen=True)
class Trial:
    """A crop, `[1, 3, S, S]` in [0, 1], its LR, and what it becomes: by degradation `[4, 3, S, S]`, rising."""

    hr: Tensor
    lr: Tensor
    degraded: dict[str, Tensor]

    @property
    def images(self) -> Tensor:
        """The crop, then all that it becomes, `[17, 3, S, S]`."""
        return torch.cat([self.hr, *self.degraded.values()])


def trials(side: int, photos: Sequence[Pixels]) -> list[Trial]:
    """Trials of crops of `side` px.

    Raises:
        BadInput: no photo is that large.
    """
    crops = [crop for photo in photos for crop in _crops(photo, side)]
    if not crops:
        raise BadInput(f"no photo has a side of {side} px: give larger ones with --photos, or a smaller --side")
    return [_trial(crop, number) for number, crop in enumerate(crops)]


def shipped_photos(names: Sequence[str] = SHIPPED) -> list[Pixels]:
    """Photos of scikit-image, RGB `[H, W, 3]`."""
    folder = Path(str(skimage.__file__)).parent / "data"
    return [np.asarray(Image.open(folder / name).convert("RGB")) for name in names]


def _crops(photo: Pixels, side: int) -> list[Pixels]:
    height, width = photo.shape[:2]
    if min(height, width) < side:
        return []
    places = [(share * (height - side) // 2, share * (width - side) // 2) for share in range(CROPS)]
    return [photo[y : y + side, x : x + side] for y, x in dict.fromkeys(places)]


def _trial(crop: Pixels, number: int) -> Trial:
    hr = to_tensor(crop)
    size = [max(1, length // LR_SCALE) for length in hr.shape[2:]]
    lr = F.interpolate(hr, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    degraded = {
        name: to_tensor(*(degrade(crop, strength, number) for strength in strengths))
        for name, (degrade, strengths) in DEGRADATIONS.items()
    }
    return Trial(hr, lr, degraded)


def _bytes(image: NDArray[np.float32]) -> Pixels:
    return np.asarray(np.rint(image.clip(0, 255)), dtype=np.uint8)


def _blur(crop: Pixels, sigma: float, number: int) -> Pixels:
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), dtype=np.uint8)


def _noise(crop: Pixels, deviation: float, number: int) -> Pixels:
    drawn = np.random.default_rng(number).standard_normal(crop.shape, dtype=np.float32)
    return _bytes(crop + np.float32(255 * deviation) * drawn)


def _jpeg(crop: Pixels, quality: float, number: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "JPEG", quality=int(quality))
    return np.asarray(Image.open(buffer).convert("RGB"))


def _ringing(crop: Pixels, amount: float, number: int) -> Pixels:
    image = crop.astype(np.float32)
    return _bytes(image + np.float32(amount) * (image - cv2.GaussianBlur(image, (0, 0), 1.2)))


DEGRADATIONS: dict[str, tuple[Callable[[Pixels, float, int], Pixels], tuple[float, ...]]] = {
    "blur": (_blur, (0.7, 1.2, 2.0, 3.0)),
    "noise": (_noise, (0.02, 0.04, 0.07, 0.12)),
    "jpeg": (_jpeg, (60, 35, 20, 10)),
    "ringing": (_ringing, (0.7, 1.5, 3.0, 5.0)),
}
"""By name, from mild to strong: Gaussian sigma in px, deviation of white noise, JPEG quality, amount of sharpening."""
