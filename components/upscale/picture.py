"""Picture files in and out of `upscale`."""

import errno
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.errors import BadInput
from components.photos.content import read_content
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.photos.unusable import Reason, UnusablePhotoError, printable
from components.storage.publish import atomic_file

SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG", "compress_level": 3},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "lossless": True},
    ".tif": {"format": "TIFF", "compression": "tiff_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_deflate"},
}
"""By suffix. All but JPEG keep the restored pixels exactly."""
LARGEST_SIDE = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383}
"""Pixels; what libjpeg and WebP's format take."""
PROBE_BYTES = 65536
"""Written to see whether a disk takes anything at all."""


def decode_picture(
    reader: PhotoReader, content: bytes, name: str, raise_it: str = "raise --max-pixels"
) -> NDArray[np.uint8]:
    """Upright 8-bit RGB `[H, W, 3]` of a photo file's bytes; `name` is how errors call it.

    `raise_it` is how errors say that the reader's limits can be raised.

    Raises:
        BadInput: it is no picture, damaged, animated, of an unsupported kind, or beyond the reader's limits.
    """
    try:
        return reader.pixels(content, name)
    except UnusablePhotoError as error:
        raise unusable(name, error, raise_it) from error


def unusable(name: str, error: UnusablePhotoError, raise_it: str = "raise --max-pixels") -> BadInput:
    """The error for a person who gave the picture `name`."""
    way_out = f"; crop or shrink it, or {raise_it}" if error.reason is Reason.TOO_LARGE else ""
    return BadInput(f"{printable(name)} cannot be used: {error}{way_out}")


def read_picture(path: Path, max_pixels: int) -> NDArray[np.uint8]:
    """`decode_picture` of a file.

    Raises:
        BadInput: also when there is no such file.
    """
    limits = Limits.of(max_pixels)
    try:
        content = read_content(path, limits.max_bytes)
    except UnusablePhotoError as error:
        raise unusable(str(path), error) from error
    with PhotoReader(limits, processes=1) as reader:
        return decode_picture(reader, content, str(path))


def check_output(path: Path, force: bool) -> None:
    """Say before any work whether `path` can be written.

    Raises:
        BadInput: its suffix is none of SAVE_OPTIONS; it is a folder; it exists and `force` is not set; its folder takes
            no file of that name, because of its rights, its disk or the name's length.
    """
    if path.suffix.lower() not in SAVE_OPTIONS:
        raise BadInput(f"{path}: unknown picture format {path.suffix!r}; use one of {', '.join(SAVE_OPTIONS)}")
    try:
        if path.is_dir():
            raise BadInput(f"{path} is a folder: name a file in it with --output")
        if path.exists() and not force:
            raise BadInput(f"{path} exists; give --force to overwrite it, or another --output")
        # Written where the picture will be, under a name as long as its own while it is unfinished.
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", suffix=path.suffix, dir=folder) as probe:
            probe.write(bytes(PROBE_BYTES))
            probe.flush()
    except OSError as error:
        raise _unwritable(path, error) from error


def check_size(path: Path, width: int, height: int) -> None:
    """Raises BadInput if the format of `path` holds no picture of `width` × `height` px."""
    suffix = path.suffix.lower()
    most = LARGEST_SIDE.get(suffix)
    if most is not None and max(width, height) > most:
        raise BadInput(
            f"{path}: the picture will have {width} x {height} px, and a {suffix} file holds at most {most} px a side: "
            "name a .png or .tif with --output"
        )


def write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    """Publish 8-bit RGB `[H, W, 3]` in the format of the suffix.

    Raises:
        BadInput: the disk is full, or the folder went away or lost its rights since `check_output`.
    """
    buffer = io.BytesIO()
    options = SAVE_OPTIONS[path.suffix.lower()]
    Image.fromarray(image).save(buffer, **options)
    try:
        with atomic_file(path) as temporary:
            temporary.write_bytes(buffer.getvalue())
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> BadInput:
    way_out = "make room on that disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "choose another --output"
    return BadInput(f"{path} cannot be written: {error.strerror}; {way_out}")
