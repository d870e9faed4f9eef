"""A restored picture, and what its photo carried, as a file's bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from components.artifacts.depth import as_8bit
from components.photos import newer
from components.photos.reading import BACKGROUND
from components.upscale import sixteen
from components.upscale.carried import Carried, Pixels
from components.upscale.metadata import metadata

SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG", "compress_level": 3},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "lossless": True},
    ".tif": {"format": "TIFF", "compression": "tiff_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_deflate"},
    ".avif": {"format": newer.AVIF, "quality": 95, "subsampling": "4:4:4", "max_threads": 1},
    ".jxl": {"format": newer.JXL, "lossless": True, "num_threads": 0},
}
"""By suffix. All but JPEG and AVIF keep the restored pixels exactly. HEIC is not written: its encoder is slow."""
SIXTEEN = (".png", ".tif", ".tiff")
"""Formats that are written with 16 bits, where the photo had them."""


def encoded(image: Pixels, suffix: str, carried: Carried | None = None) -> bytes:
    """RGB `[H, W, 3]` in the format of `suffix`, one of SAVE_OPTIONS; 16 bits only in SIXTEEN, 8 otherwise.

    Colours are sRGB; a photo that had a colour profile gets that of sRGB. Grey stays grey. Alpha is enlarged
    without ringing; JPEG has none, and shows the picture on white. IPTC has a place in
    JPEG and TIFF alone; of EXIF, TIFF takes who made it and when.
    """
    options = dict(SAVE_OPTIONS[suffix])
    buffer = io.BytesIO()
    if image.dtype == np.uint16 and suffix in SIXTEEN:
        return sixteen.encoded(image.astype(np.uint16, copy=False), options["format"], carried)
    image = as_8bit(image)
    if carried is None:
        Image.fromarray(image).save(buffer, **options)
        return buffer.getvalue()
    picture = _with_alpha(Image.fromarray(image), carried, is_opaque=options["format"] == "JPEG")
    picture.save(buffer, **options | metadata(options["format"], carried))
    return buffer.getvalue()


def _with_alpha(picture: Image.Image, carried: Carried, is_opaque: bool) -> Image.Image:
    colours = picture.convert("L") if carried.grey else picture
    if carried.alpha is None:
        return colours
    alpha = Image.fromarray(as_8bit(carried.alpha)).resize(
        picture.size, Image.Resampling.HAMMING
    )  # which does not ring
    if is_opaque:
        white = Image.new(colours.mode, colours.size, BACKGROUND[0] if carried.grey else BACKGROUND)
        return Image.composite(colours, white, alpha)
    colours = colours.copy()
    colours.putalpha(alpha)
    return colours
