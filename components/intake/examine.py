"""One object's bytes → pixels to keep, or the reason why not. No files, no network.

Everything that reads a stranger's bytes happens in the decoder's process (`clean`); this one makes a file of the pixels
that come back, so that nothing the stranger wrote, and nothing a decoder that he took over writes, is ever read here.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from components.artifacts.shards import encode_png
from components.photos.answers import Answer
from components.photos.limits import check_size
from components.photos.reader import PhotoReader
from components.photos.reading import SUFFIXES
from components.photos.unusable import Reason, UnusablePhotoError
from components.storage import digests

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
    check_size(size, max_bytes)
    suffix = PurePosixPath(key.replace("\\", "/")).suffix.lower()
    if suffix and suffix not in SUFFIXES:
        raise UnusablePhotoError(Reason.UNSUPPORTED, f"the name ends with {suffix[:20]}, which no picture's does")


def examine(reader: PhotoReader, data: bytes, key: str, min_side: int) -> CleanPhoto:
    """Decode and judge by content; what the name says counts for nothing here.

    Args:
        reader: one that knows CLEAN.

    Raises:
        UnusablePhotoError: as `PhotoReader.pixels`, or the file is something else as well.
    """
    pixels = reader.call(CLEAN, data, key, min_side).pixels
    if pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape[:2]) < min_side:
        raise UnusablePhotoError(Reason.HOSTILE, "its decoder gave no picture")
    return CleanPhoto(digests.of_pixels(pixels), encode_png(pixels), pixels.shape[1], pixels.shape[0])


CLEAN = f"{__name__}:clean"


def clean(data: bytes, photo: NDArray[np.uint8]) -> Answer:
    """In the decoder's process: all pixels of what is a picture and nothing else.

    Raises:
        UnusablePhotoError: it is something else as well.
    """
    foreign = polyglot_kind(data)
    if foreign:
        raise UnusablePhotoError(Reason.HOSTILE, f"a picture that is {foreign} as well")
    return {}, photo


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
