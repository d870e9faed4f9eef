"""HEIC, AVIF and JPEG XL, as phones and newer programs write them: what their plug-ins of Pillow do not check.

* Decoders start no threads of their own: a child that decodes has a limit of memory, which each thread's stack counts
  in.
* JPEG XL's plug-in decodes all pixels as soon as a file is opened: its size, and whether it is an animation, are read
  here before (ISO/IEC 18181-1, annex D.3).
* Which way is up: HEIC's plug-in turns the pixels and says so, AVIF's turns nothing and says how to turn. JPEG XL turns
  by itself, and the EXIF data of its file are not to be asked again, except in a JPEG that it only packs.
* Brightness beyond white (PQ, HLG) has no agreed place in 8 bits, and is refused.
"""

from __future__ import annotations

import struct

import pillow_heif
from PIL import AvifImagePlugin, Image
from pillow_jxl import JpegXLImagePlugin

from components.photos.unusable import Reason, UnusablePhotoError

HEIF, AVIF, JXL = "HEIF", "AVIF", "JXL"
"""Names of formats, as Pillow has them."""
SEQUENCES = (b"msf1", b"hevc", b"hevx", b"avis")
"""Brands of moving pictures; other HEIC files may have several still ones, of which the primary is the photo."""
MOST_HEADER = 2**16
"""Bytes in which the boxes that describe a picture stand."""
PQ, HLG = 16, 18
"""Transfer characteristics (ITU-T H.273)."""
_CODESTREAM, _CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))

pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
JpegXLImagePlugin.DECODE_THREADS = 0


def check_jpeg_xl(data: bytes, max_pixels: int) -> None:
    """Look at the header of a file, if it is one of JPEG XL; nothing is decoded.

    Raises:
        UnusablePhotoError: more than `max_pixels`, an animation, or the header ends early.
    """
    if not data.startswith((_CODESTREAM, _CONTAINER)):
        return
    try:
        width, height, moves = _described(_codestream(data))
    except (IndexError, struct.error) as error:
        raise UnusablePhotoError(Reason.TRUNCATED, "the file ends within its header") from error
    if width * height > max_pixels:
        raise UnusablePhotoError(Reason.TOO_LARGE, f"{width}×{height} pixels are more than max_pixels {max_pixels}")
    if moves:
        raise UnusablePhotoError(Reason.MULTIPLE_FRAMES, "an animation: save the picture you want as its own file")


def has_frames(image: Image.Image, data: bytes) -> bool:
    """Whether a HEIC file is a sequence of pictures."""
    return data[8:12] in SEQUENCES and getattr(image, "n_frames", 1) > 1


def check_brightness(data: bytes) -> None:
    """Raises UnusablePhotoError if a HEIC or AVIF file says that its brightness goes beyond white."""
    place = data.find(b"colrnclx", 0, MOST_HEADER)
    if place < 0 or len(data) < place + 12:
        return
    transfer = int.from_bytes(data[place + 10 : place + 12], "big")
    if transfer in (PQ, HLG):
        raise UnusablePhotoError(
            Reason.UNSUPPORTED,
            f"high dynamic range ({'PQ' if transfer == PQ else 'HLG'}) has no agreed white here: export it as a "
            "standard picture",
        )


def turns_itself(image: Image.Image) -> bool:
    """Whether the pixels are upright whatever the EXIF data say."""
    return image.format == JXL and not getattr(image, "jpeg", False)


def bits_of(image: Image.Image, data: bytes) -> int:
    """A sample's bits in a HEIC or AVIF file, 8 where it does not say."""
    if image.format == HEIF:
        return int(image.info.get("bit_depth", 8))
    place = data.find(b"av1C", 0, MOST_HEADER)
    if image.format != AVIF or place < 0 or len(data) < place + 7:
        return 8
    flags = data[place + 6]
    return (12 if flags & 0x20 else 10) if flags & 0x40 else 8


def _codestream(data: bytes) -> bytes:
    """The first bytes of the coded picture, which may lie in a box of a container.

    Raises:
        IndexError: there is none.
    """
    if data.startswith(_CODESTREAM):
        return data[:64]
    place = 0
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        start = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, place + 8)
            start = 16
        if kind in (b"jxlc", b"jxlp"):
            begin = place + start + (4 if kind == b"jxlp" else 0)
            return data[begin : begin + 64]
        if size < start:
            break
        place += size
    raise IndexError("no codestream")


class _Bits:
    """Numbers from bytes, the lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def __call__(self, count: int) -> int:
        if count > self._left:
            raise IndexError("the bits end")
        found = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return found

    def size(self) -> tuple[int, int]:
        """Width and height of a SizeHeader."""
        small = self(1)
        height = 8 * (self(5) + 1) if small else self._length()
        ratio = self(3)
        if ratio:
            over, under = _RATIOS[ratio - 1]
            return height * over // under, height
        return (8 * (self(5) + 1) if small else self._length()), height

    def _length(self) -> int:
        return self((9, 13, 18, 30)[self(2)]) + 1


def _described(codestream: bytes) -> tuple[int, int, bool]:
    """Width and height as they are coded, and whether it is an animation.

    Raises:
        IndexError: it ends early.
    """
    if codestream[:2] != _CODESTREAM:
        raise IndexError("no codestream")
    bits = _Bits(codestream[2:])
    width, height = bits.size()
    if bits(1) or not bits(1):  # all as usual; nothing further is told
        return width, height, False
    bits(3)  # orientation
    if bits(1):  # the size that it is meant to be shown at
        bits.size()
    if bits(1):  # a preview
        return width, height, False
    return width, height, bool(bits(1))
