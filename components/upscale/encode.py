"""A restored picture, and what its photo carried, as a file's bytes."""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from components.photos.reading import BACKGROUND
from components.upscale.carried import Carried

SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG", "compress_level": 3},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "lossless": True},
    ".tif": {"format": "TIFF", "compression": "tiff_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_deflate"},
}
"""By suffix. All but JPEG keep the restored pixels exactly."""
MOST_IN_A_MARKER = 65000
"""Bytes of a block of JPEG's metadata."""
_XMP_TAG, _IPTC_TAG = 700, 33723
_APP13, _RESOURCE, _IPTC = b"\xff\xed", b"Photoshop 3.0\x008BIM", 0x0404


def encoded(image: NDArray[np.uint8], suffix: str, carried: Carried | None = None) -> bytes:
    """8-bit RGB `[H, W, 3]` in the format of `suffix`, one of SAVE_OPTIONS.

    Colours are sRGB; a photo that had a colour profile gets that of sRGB. Grey stays grey. Alpha is enlarged
    without ringing; JPEG has none, and shows the picture on white. IPTC has a place in
    JPEG and TIFF alone; of EXIF, TIFF takes who made it and when.
    """
    options = dict(SAVE_OPTIONS[suffix])
    buffer = io.BytesIO()
    if carried is None:
        Image.fromarray(image).save(buffer, **options)
        return buffer.getvalue()
    picture = _with_alpha(Image.fromarray(image), carried, is_opaque=options["format"] == "JPEG")
    picture.save(buffer, **options | _metadata(options["format"], carried))
    return buffer.getvalue()


def _with_alpha(picture: Image.Image, carried: Carried, is_opaque: bool) -> Image.Image:
    colours = picture.convert("L") if carried.grey else picture
    if carried.alpha is None:
        return colours
    alpha = Image.fromarray(carried.alpha).resize(picture.size, Image.Resampling.HAMMING)  # which does not ring
    if is_opaque:
        white = Image.new(colours.mode, colours.size, BACKGROUND[0] if carried.grey else BACKGROUND)
        return Image.composite(colours, white, alpha)
    colours = colours.copy()
    colours.putalpha(alpha)
    return colours


def _metadata(kind: str, carried: Carried) -> dict[str, Any]:
    """Options of Pillow's `save`; what a format has no place for is left out."""
    options: dict[str, Any] = {}
    if carried.profiled and not carried.grey:
        options["icc_profile"] = _srgb()
    if carried.dpi:
        options["dpi"] = carried.dpi
    if kind == "TIFF":
        return options | {"tiffinfo": _tags(carried)}
    if carried.exif and (kind != "JPEG" or len(carried.exif) < MOST_IN_A_MARKER):
        options["exif"] = carried.exif
    if carried.xmp and kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", carried.xmp.decode(errors="replace"))
        options["pnginfo"] = text
    elif carried.xmp and (kind != "JPEG" or len(carried.xmp) < MOST_IN_A_MARKER):
        options["xmp"] = carried.xmp
    if carried.iptc and kind == "JPEG" and len(carried.iptc) < MOST_IN_A_MARKER:
        options["extra"] = _marker(carried.iptc)
    return options


def _tags(carried: Carried) -> ImageFileDirectory_v2:
    """Tags of a compressed TIFF; libtiff takes no directories in it, which exposure and place would be."""
    tags = ImageFileDirectory_v2()
    if carried.exif:
        exif = Image.Exif()
        exif.load(carried.exif)
        for tag, value in exif.items():
            if isinstance(value, str):
                tags[tag] = value
    for tag, content in ((_XMP_TAG, carried.xmp), (_IPTC_TAG, carried.iptc)):
        if content:
            tags[tag] = content
            tags.tagtype[tag] = TiffTags.BYTE
    return tags


def _marker(record: bytes) -> bytes:
    """IPTC as JPEG has it: in a resource of Photoshop's."""
    padded = record + b"\0" * (len(record) % 2)
    body = _RESOURCE + struct.pack(">H2sI", _IPTC, b"\0\0", len(record)) + padded
    return _APP13 + struct.pack(">H", len(body) + 2) + body


@cache
def _srgb() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # when it was made: the same bytes every day
    return bytes(profile)
