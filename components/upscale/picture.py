"""Picture files in and out of `upscale`."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.artifacts.publish import atomic_file
from components.errors import BadInput
from components.photos.reading import read_photo
from components.photos.unusable import Reason, UnusablePhotoError

SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG", "compress_level": 3},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "lossless": True},
    ".tif": {"format": "TIFF", "compression": "tiff_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_deflate"},
}
"""By suffix. All but JPEG keep the restored pixels exactly."""


def decode_picture(
    content: bytes, name: str, max_pixels: int, raise_it: str = "raise --max-pixels"
) -> NDArray[np.uint8]:
    """Upright 8-bit RGB `[H, W, 3]` of a photo file's bytes; `name` is how errors call it.

    `raise_it` is how errors say that `max_pixels` can be raised.

    Raises:
        BadInput: it is no picture, damaged, animated, of an unsupported kind, or has more than `max_pixels` px.
    """
    try:
        return read_photo(content, 1, max_pixels)
    except UnusablePhotoError as error:
        way_out = f"; crop or shrink it, or {raise_it}" if error.reason is Reason.TOO_LARGE else ""
        raise BadInput(f"{name} cannot be used: {error}{way_out}") from error


def read_picture(path: Path, max_pixels: int) -> NDArray[np.uint8]:
    """`decode_picture` of a file.

    Raises:
        BadInput: also when there is no such file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    return decode_picture(content, str(path), max_pixels)


def check_output(path: Path, force: bool) -> None:
    """Raises BadInput if `path` has a suffix that is not written here, or exists and `force` is not set."""
    if path.suffix.lower() not in SAVE_OPTIONS:
        raise BadInput(f"{path}: unknown picture format {path.suffix!r}; use one of {', '.join(SAVE_OPTIONS)}")
    if path.exists() and not force:
        raise BadInput(f"{path} exists; give --force to overwrite it, or another --output")


def write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    """Publish 8-bit RGB `[H, W, 3]` in the format of the suffix."""
    buffer = io.BytesIO()
    options = SAVE_OPTIONS[path.suffix.lower()]
    Image.fromarray(image).save(buffer, **options)
    with atomic_file(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
