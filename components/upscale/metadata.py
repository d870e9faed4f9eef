"""What a photo carried, as options of the writers of picture files."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

from PIL import Image, ImageCms, PngImagePlugin, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from components.upscale.carried import Carried

MOST_IN_A_MARKER = 65000
"""Bytes of a block of JPEG's metadata."""
_XMP_TAG, _IPTC_TAG = 700, 33723
_APP13, _RESOURCE, _IPTC = b"\xff\xed", b"Photoshop 3.0\x008BIM", 0x0404


def metadata(kind: str, carried: Carried) -> dict[str, Any]:
    """Options of Pillow's `save`; what a format has no place for is left out."""
    options: dict[str, Any] = {}
    if carried.profiled and not carried.grey:
        options["icc_profile"] = srgb_profile()
    if carried.dpi:
        options["dpi"] = carried.dpi
    if kind == "TIFF":
        return options | {"tiffinfo": tags_of(carried)}
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


def tags_of(carried: Carried) -> ImageFileDirectory_v2:
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
def srgb_profile() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # when it was made: the same bytes every day
    return bytes(profile)
