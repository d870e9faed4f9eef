"""TIFF pictures that Pillow decodes wrongly without a word: decoded by tifffile, or refused.

Pillow 13 turns 16-bit planes without compression into stripes, shows grey planes with alpha as something else, leaves
16-bit grey with white as zero inverted, and takes signed samples for unsigned ones. Everything else it decodes rightly
or refuses by itself; a test compares all that tifffile can write.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
    TiffImageFile,
)

from components.photos.unusable import Reason, UnusablePhotoError

if TYPE_CHECKING:
    from tifffile import TiffPage

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, SEPARATED = 0, 1, 2, 5
"""Photometric interpretations."""
UNCOMPRESSED, PLANES, SIGNED = 1, 2, 2
"""Values of Compression, PlanarConfiguration and SampleFormat."""
ASSOCIATED, UNASSOCIATED = 1, 2
"""Kinds of extra samples: alpha that the colours are multiplied with, and alpha apart."""
MOST_SAMPLES = 8
"""Samples a pixel; a file may claim thousands, and its pixels would fill the memory."""
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a TIFF, of either byte order, classic and BigTIFF."""


def preload() -> None:
    """Import what `corrected` may need, where files cannot be read later, or time is counted."""
    import tifffile  # noqa: F401, PLC0415


def corrected(image: TiffImageFile, data: bytes) -> Image.Image:
    """`image`, or the same picture of another reader where Pillow would decode it wrongly.

    Args:
        image: opened from `data`, not loaded yet.
        data: the file's content.

    Raises:
        UnusablePhotoError: signed samples, or a compression that only Pillow reads.
    """
    tags = image.tag_v2
    bits = max(tags.get(BITSPERSAMPLE, (1,)))
    meaning = tags.get(PHOTOMETRIC_INTERPRETATION)
    if SIGNED in tags.get(SAMPLEFORMAT, (1,)) and bits < 32:
        raise UnusablePhotoError(
            Reason.UNSUPPORTED, f"signed {bits}-bit samples have no agreed black and white: save it as 8 or 16 bit"
        )
    in_planes = tags.get(PLANAR_CONFIGURATION) == PLANES and tags.get(SAMPLESPERPIXEL, 1) > 1
    striped = in_planes and bits == 16 and tags.get(COMPRESSION, UNCOMPRESSED) == UNCOMPRESSED
    grey_planes = in_planes and meaning in (WHITE_IS_ZERO, BLACK_IS_ZERO)
    if striped or grey_planes or image.mode == "I":  # of 32-bit grey, compression and byte order are mixed up
        return _with_metadata(_by_tifffile(data), image)
    if meaning == WHITE_IS_ZERO and bits == 16:
        return _with_metadata(Image.fromarray(65535 - np.asarray(image).astype(np.uint16)), image)
    return image


def has_pages(data: bytes) -> bool:
    """Whether a second directory follows the first. Readers that count them take quadratic time for some files.

    A pointer that leads nowhere, back, or to a directory without entries is no page: the picture before it is whole.
    """
    order = "<" if data[:1] == b"I" else ">"
    large = data[2:4] in (b"+\0", b"\0+")  # BigTIFF
    pointer, count, entry = ("Q", "Q", 20) if large else ("I", "H", 12)

    def number(kind: str, offset: int) -> int:
        value: int = struct.unpack_from(order + kind, data, offset)[0]
        return value

    try:
        first = number(pointer, 8 if large else 4)
        second = number(pointer, first + struct.calcsize(order + count) + number(count, first) * entry)
        return second not in (0, first) and 0 < number(count, second) * entry <= len(data) - second
    except (struct.error, OverflowError):
        return False


def _with_metadata(decoded: Image.Image, image: Image.Image) -> Image.Image:
    """The same orientation and colour profile."""
    decoded.getexif().update(dict(image.getexif()))
    if "icc_profile" in image.info:
        decoded.info["icc_profile"] = image.info["icc_profile"]
    return decoded


def _by_tifffile(data: bytes) -> Image.Image:
    from tifffile import TiffFile  # noqa: PLC0415  # a tenth of a second that hardly any photo needs

    try:
        with TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            if page.samplesperpixel > MOST_SAMPLES:
                raise UnusablePhotoError(Reason.UNSUPPORTED, f"{page.samplesperpixel} samples a pixel are no photo")
            ends = [sum(part) for part in zip(page.dataoffsets, page.databytecounts, strict=True)]
            if not ends or max(ends) > len(data):
                raise UnusablePhotoError(Reason.TRUNCATED, "the file ends before its pixels do")
            samples = page.asarray()
            if page.planarconfig == PLANES and page.samplesperpixel > 1:
                samples = np.moveaxis(samples, 0, -1)
            return _as_image(samples, page)
    except (ValueError, KeyError, IndexError, TypeError, OSError, struct.error, zlib.error) as error:
        raise UnusablePhotoError(
            Reason.UNSUPPORTED,
            f"this kind of TIFF cannot be decoded ({error}): save it with its channels together, or as PNG",
        ) from error


def _as_image(samples: NDArray[Any], page: TiffPage) -> Image.Image:
    """Samples `[H, W]` or `[H, W, S]` of 8, 16 or 32 bits as Pillow would hold them."""
    meaning = int(page.photometric)
    if samples.ndim == 2 and samples.dtype.kind in "iu" and samples.dtype.itemsize == 4:
        low, high = int(samples.min()), int(samples.max())
        if low < 0 or high > 65535:
            raise UnusablePhotoError(Reason.UNSUPPORTED, f"32-bit values {low} … {high} have no agreed white")
        grey = samples.astype(np.uint16)
        return Image.fromarray(65535 - grey if meaning == WHITE_IS_ZERO else grey)
    if samples.dtype not in (np.uint8, np.uint16):
        raise UnusablePhotoError(Reason.UNSUPPORTED, f"samples of type {samples.dtype} are not read here")
    # colour by its high byte, as Pillow does with channels that lie together
    pixels = (samples >> 8 if samples.dtype == np.uint16 else samples).astype(np.uint8)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    colours = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, SEPARATED: 4}.get(meaning)
    if colours is None or pixels.shape[-1] < colours:
        raise UnusablePhotoError(Reason.UNSUPPORTED, f"photometric interpretation {meaning} in planes is not read here")
    if meaning == WHITE_IS_ZERO:
        pixels[..., :1] = 255 - pixels[..., :1]
    if meaning == SEPARATED:
        return Image.fromarray(np.ascontiguousarray(pixels[..., :4]), mode="CMYK")
    rgb = np.repeat(pixels[..., :1], 3, axis=-1) if colours == 1 else pixels[..., :3]
    kinds = [int(kind) for kind in page.extrasamples]
    alpha = next((number for number, kind in enumerate(kinds) if kind in (ASSOCIATED, UNASSOCIATED)), None)
    if alpha is None:
        return Image.fromarray(np.ascontiguousarray(rgb))
    picture = np.ascontiguousarray(np.concatenate([rgb, pixels[..., colours + alpha, None]], axis=-1))
    if kinds[alpha] == UNASSOCIATED:
        return Image.fromarray(picture)
    return Image.frombytes("RGBa", (picture.shape[1], picture.shape[0]), picture.tobytes()).convert("RGBA")
