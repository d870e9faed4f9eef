"""The 16 bits of a PNG or TIFF, for those who restore them: upright, in sRGB.

Everything else here works with 8 bits (`read_photo`), and Pillow has no pixels of three channels with more. What is
read here is compared with those 8 bits: a file that two decoders understand differently keeps 8.
"""

from __future__ import annotations

import io
import logging
import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from components.artifacts.depth import as_8bit
from components.photos import icc
from components.photos.reading import FORMATS, turned

logger = logging.getLogger("dp2o.photos")

WHITE = 65535
CLOSE, CLOSE_MEAN = 2, 1.0
"""Levels of 8 bits between the two readings: at most, without a colour profile; on average, with one, whose colours
outside of sRGB two programs clip differently."""
_PNG_DEPTH = 24


def has_16_bits(image: Image.Image, data: bytes) -> bool:
    """Whether a PNG's or TIFF's samples have 16 bits."""
    if image.format == "PNG":
        return data[_PNG_DEPTH] == 16
    bits = getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample)
    return isinstance(bits, tuple) and set(bits) == {16}


def read_deep(data: bytes, photo: NDArray[np.uint8]) -> NDArray[np.uint16] | None:
    """uint16 `[H, W, 3]`, or `[H, W, 4]` with transparent pixels; None where the file has 8 bits, or only those are
    sure.

    Args:
        photo: what `read_photo` made of the same file.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.format not in ("PNG", "TIFF") or not has_16_bits(image, data) or "transparency" in image.info:
            return None
        profile = image.info.get("icc_profile")
        try:
            samples = _by_opencv(data) if image.format == "PNG" else _tiff(data)
            colours, alpha = _apart(samples)
            if profile:
                colours = icc.in_srgb(colours, profile)
            colours, alpha = turned(colours, image), None if alpha is None else turned(alpha, image)
        except (ValueError, KeyError, IndexError, TypeError, struct.error, cv2.error) as error:
            logger.warning("16 bits cannot be kept, and 8 are taken: %s", error)
            return None
    if not _agree(colours, alpha, photo, bool(profile)):
        logger.warning("16 bits cannot be kept, and 8 are taken: two decoders read the file differently")
        return None
    if alpha is None or alpha.min() == WHITE:
        return np.ascontiguousarray(colours)
    return np.concatenate([colours, alpha[..., None]], axis=-1)


def _by_opencv(data: bytes) -> NDArray[np.uint16]:
    """Samples `[H, W, C]`, red first. Raises ValueError where there are none of 16 bits."""
    found: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16:
        raise ValueError("OpenCV gives no 16 bits")
    if found.ndim == 2:
        return np.asarray(found[..., None])
    order = [2, 1, 0, 3][: found.shape[2]]
    return np.asarray(found[..., order])


def _tiff(data: bytes) -> NDArray[np.uint16]:
    """Raises ValueError where it is none of grey or RGB, with one further sample at most."""
    from tifffile import TiffFile  # noqa: PLC0415  # preloaded in a decoder

    try:
        with TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            meaning, extra = int(page.photometric), [int(kind) for kind in page.extrasamples]
            if meaning not in (0, 1, 2) or extra not in ([], [2]):
                raise KeyError(f"photometric interpretation {meaning}, extra samples {extra}")
            samples = page.asarray()
            if page.planarconfig == 2 and page.samplesperpixel > 1:
                samples = np.moveaxis(samples, 0, -1)
            samples = samples[..., None] if samples.ndim == 2 else samples
            if samples.dtype != np.uint16:
                raise KeyError(f"samples of type {samples.dtype}")
            return np.concatenate([WHITE - samples[..., :1], samples[..., 1:]], axis=-1) if meaning == 0 else samples
    except ValueError:  # a compression that it has no codec for
        return _by_opencv(data)


def _apart(samples: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], NDArray[np.uint16] | None]:
    """Colours `[H, W, 3]`, and alpha `[H, W]` if there is any."""
    channels = samples.shape[2]
    if channels not in (1, 2, 3, 4):
        raise ValueError(f"{channels} samples a pixel")
    colours = samples[..., :3] if channels > 2 else np.repeat(samples[..., :1], 3, axis=2)
    return colours, samples[..., -1] if channels in (2, 4) else None


def _agree(
    colours: NDArray[np.uint16], alpha: NDArray[np.uint16] | None, photo: NDArray[np.uint8], profiled: bool
) -> bool:
    if colours.shape != photo.shape:
        return False
    apart = cv2.absdiff(as_8bit(colours), photo)
    if alpha is not None:
        apart = apart[alpha == WHITE]
    if not apart.size:
        return True
    return bool(apart.mean() <= CLOSE_MEAN) if profiled else bool(apart.max() <= CLOSE)
