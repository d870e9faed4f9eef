"""One object's bytes → pixels to keep, or the reason why not. Pure: no files, no network."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath

from components.artifacts import digests
from components.artifacts.shards import encode_png
from components.photos.reading import SUFFIXES, read_photo
from components.photos.unusable import Reason, UnusablePhotoError

_SCRIPTS = (b"<?php", b"<script", b"#!/bin/", b"#!/usr/bin/")


@dataclass(frozen=True)
class CleanPhoto:
    """A picture that can be used.

    Attributes:
        pixels: its digest, as `lr_id` is made.
        png: its pixels and nothing else of the file: no metadata, no place names, nothing behind the picture.
    """

    pixels: str
    png: bytes
    width: int
    height: int


def check_entry(key: str, size: int, max_bytes: int) -> None:
    """What the listing alone tells.

    Raises:
        UnusablePhotoError: empty, too many bytes, or named as something other than a picture.
    """
    if size == 0:
        raise UnusablePhotoError(Reason.EMPTY, "0 bytes")
    if size > max_bytes:
        raise UnusablePhotoError(Reason.TOO_LARGE, f"{size} bytes are more than intake.max_bytes {max_bytes}")
    suffix = PurePosixPath(key.replace("\\", "/")).suffix.lower()
    if suffix and suffix not in SUFFIXES:
        raise UnusablePhotoError(Reason.UNSUPPORTED, f"the name ends with {suffix[:20]}, which no picture's does")


def examine(data: bytes, min_side: int, max_pixels: int) -> CleanPhoto:
    """Decode and judge by content; what the name says counts for nothing here.

    Raises:
        UnusablePhotoError: as `read_photo`, or the file is something else as well.
    """
    pixels = read_photo(data, min_side, max_pixels)
    foreign = polyglot_kind(data)
    if foreign:
        raise UnusablePhotoError(Reason.HOSTILE, f"a picture that is {foreign} as well")
    return CleanPhoto(digests.of_pixels(pixels), encode_png(pixels), pixels.shape[1], pixels.shape[0])


def polyglot_kind(data: bytes) -> str:
    """What else than a picture a file is: an archive, a document or a script that some program would run; or nothing.

    Cameras do write things behind their pictures (previews, films), so that more bytes alone are no reason.
    """
    if zipfile.is_zipfile(io.BytesIO(data)):
        return "a ZIP archive"
    if b"%PDF-" in data[:1024]:
        return "a PDF"
    lowered = data.lower()
    for script in _SCRIPTS:
        if script in lowered:
            return f"a script ({script.decode()})"
    return ""
