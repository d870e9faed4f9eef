"""Pictures with a colour profile → sRGB, the space in which everything here is restored, scored and shown."""

from __future__ import annotations

import io
import logging
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

logger = logging.getLogger("dp2o.photos")

MODES = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}
"""Colour spaces of a profile, and the pixels that it can be of."""
INTENT, FLAGS = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
"""As in most editors: white stays white, black stays black, colours within sRGB stay as they are."""
SAME = 1
"""Levels by which a profile may move colours and is still taken for sRGB, whose profiles differ in rounding."""


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """`image` as RGB pixels in sRGB.

    A profile of sRGB itself changes no pixel. One that is damaged, or of another kind of pixels, is ignored with a
    warning, as browsers do.

    Args:
        image: of 8 bits, without transparency.
        profile: an ICC profile, None where the picture has none and is taken for sRGB.
    """
    if not profile:
        return _rgb(image)
    try:
        transform = _transform(profile)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        logger.warning("a colour profile cannot be used, and the picture is taken for sRGB: %s", error)
        return _rgb(image)
    if transform is None:
        return _rgb(image)
    if transform.input_mode == "L" and image.mode not in ("1", "L"):
        logger.warning("a colour profile is of grey pixels, the picture's are %s: it is taken for sRGB", image.mode)
        return image.convert("RGB")
    if (transform.input_mode == "CMYK") != (image.mode == "CMYK"):
        logger.warning(
            "a colour profile is of %s pixels, the picture's are %s: it is taken for sRGB",
            transform.input_mode, image.mode,
        )  # fmt: skip
        return image.convert("RGB")
    return transform.apply(image.convert(transform.input_mode))


def _rgb(image: Image.Image) -> Image.Image:
    """Without a copy of what is RGB already: of a large photo it takes as long as a third of its decoding."""
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=16)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """To sRGB; None for a profile of sRGB itself.

    Raises:
        PyCMSError, OSError, ValueError: the profile is damaged, or of a space that no picture here has.
    """
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = source.profile.xcolor_space
    if space not in MODES:
        raise ValueError(f"its colour space is {space.strip()}")
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), MODES[space], "RGB", INTENT, FLAGS)
    return None if MODES[space] == "RGB" and _is_identity(transform) else transform


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    levels = np.linspace(0, 255, 18).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(18, -1, 3)
    moved = np.asarray(transform.apply(Image.fromarray(grid))).astype(np.int16) - grid
    return int(np.abs(moved).max()) <= SAME
