"""Picture files in and out of `upscale`."""

import errno
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.errors import BadInput
from components.photos.content import read_content
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.photos.unusable import Reason, UnusablePhotoError, printable
from components.storage.publish import atomic_file
from components.upscale.carried import FUNCTION, Carried, Pixels, read_carried
from components.upscale.encode import SAVE_OPTIONS, encoded

LARGEST_SIDE = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383}
"""Pixels; what libjpeg and WebP's format take."""
STANDARD = "-"
"""Standard input, or output."""
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


def read_picture(path: Path, max_pixels: int) -> Carried:
    """A photo, and what goes with it; `-` is standard input.

    Raises:
        BadInput: as `decode_picture`; also when there is no such file.
    """
    limits = Limits.of(max_pixels)
    piped = str(path) == STANDARD
    name = "the picture on standard input" if piped else str(path)
    try:
        content = sys.stdin.buffer.read(limits.max_bytes + 1) if piped else read_content(path, limits.max_bytes)
        with PhotoReader(limits, 1, (FUNCTION,)) as reader:
            return read_carried(reader, content, name)
    except UnusablePhotoError as error:
        raise unusable(name, error) from error


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


def write_picture(path: Path, image: Pixels, carried: Carried | None = None) -> str:
    """Publish RGB `[H, W, 3]` in the format of the suffix, with what its photo carried; the file's sha256.

    Raises:
        BadInput: the disk is full, or the folder went away or lost its rights since `check_output`.
    """
    content = encoded(image, path.suffix.lower(), carried)
    try:
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise _unwritable(path, error) from error
    return sha256(content).hexdigest()


def _unwritable(path: Path, error: OSError) -> BadInput:
    way_out = "make room on that disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "choose another --output"
    return BadInput(f"{path} cannot be written: {error.strerror}; {way_out}")
