"""Pictures of a new study: PNGs under names drawn at random, and the worse side of an attention check."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from components.artifacts.shards import decode_png, encode_png
from components.storage import digests
from components.study.manifest import PICTURES, Side

Picture = NDArray[np.uint8]

BLUR_SHARE, LEAST_BLUR = 0.02, 2.5
"""Standard deviation of a check's blur, of the shorter side and in px: 512 px are blurred by 10 px."""


@dataclass
class Pictures:
    """Writes below `folder`; the same pixels are one file.

    Attributes:
        sha256: of each file by stem.
    """

    folder: Path
    sha256: dict[str, str] = field(default_factory=dict)
    _stems: dict[str, str] = field(default_factory=dict)

    def add(self, content: bytes) -> tuple[str, str]:
        """Stem and pixel digest of a PNG. It is encoded anew, so that no file carries more than pixels."""
        pixels = decode_png(content)
        return self.add_pixels(pixels)

    def add_pixels(self, pixels: Picture) -> tuple[str, str]:
        """The same of 8-bit RGB `[H, W, 3]`."""
        name = digests.of_pixels(pixels)
        if name not in self._stems:
            stem = secrets.token_hex(8)
            content = encode_png(pixels)
            path = self.folder / PICTURES / f"{stem}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            self._stems[name], self.sha256[stem] = stem, digests.of_bytes(content)
        return self._stems[name], name

    def side(self, content: bytes, model: str, index: int, scores: dict[str, float]) -> Side:
        """A comparison's side of a PNG."""
        stem, pixels = self.add(content)
        return Side(picture=stem, model=model, index=index, pixels=pixels, scores=scores)

    def check(self, pixels: Picture, name: str) -> tuple[Side, Side]:
        """A picture, and the same strongly blurred: nobody who looks prefers the second."""
        good, good_digest = self.add_pixels(pixels)
        bad, bad_digest = self.add_pixels(blurred(pixels))
        return (
            Side(picture=good, model=name, index=0, pixels=good_digest),
            Side(picture=bad, model=f"{name}, blurred", index=0, pixels=bad_digest),
        )


def blurred(pixels: Picture) -> Picture:
    """`pixels` under a Gaussian of BLUR_SHARE of the shorter side, LEAST_BLUR px at least."""
    sigma = max(LEAST_BLUR, BLUR_SHARE * min(pixels.shape[:2]))
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))
