"""What a photo's file says beside its pixels, and goes with the restored picture: who, when, where, how large in print.

`carried` runs in a decoder's process; `Carried` is what this process makes of its answer.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from components.photos import newer
from components.photos.deep import has_16_bits, read_deep
from components.photos.reader import PhotoReader
from components.photos.reading import FORMATS, read_transparent
from components.photos.unusable import Reason, UnusablePhotoError

FUNCTION = "components.upscale.carried:carried"
MOST_BYTES = 2**19
"""Of all metadata together; a decoder's header has 1 MiB, and bytes take four thirds of themselves in it."""
FADE = 8.0
"""Sigma of the blur, px, that colours what is fully transparent, whose own colours mean nothing."""
GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
_PNG_KIND, _PNG_GREY = 25, (0, 4)
_IPTC, _IPTC_TAG, _XMP_TAG = 0x0404, 33723, 700
_KINDS = {"CMYK": "CMYK", "P": "a palette", "PA": "a palette", "LAB": "Lab"}
_SIXTEEN = ("I", "I;16", "I;16L", "I;16B", "I;16N")

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Carried:
    """A photo.

    Attributes:
        pixels: upright sRGB, [H, W, 3]; uint16 of a photo that has 16 bits, else uint8.
        alpha: of the same type, [H, W]; None where all is opaque.
        grey: whether the file's pixels are grey.
        exif: without orientation, sizes and preview; empty without any. So are the next two.
        xmp: XML.
        iptc: an IIM record.
        dpi: dots an inch, across and down.
        profiled: whether it had a colour profile.
        was: what a restored picture of 8 bits is not: 16 bits, CMYK, a palette; empty otherwise.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    grey: bool = False
    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    dpi: tuple[float, float] | None = None
    profiled: bool = False
    was: str = ""

    def lost(self, sixteen: bool) -> str:
        """What of `was` a result is not; one that has 16 bits, if the photo was read with them, says nothing."""
        return "" if sixteen and self.pixels.dtype == np.uint16 else self.was


def read_carried(reader: PhotoReader, content: bytes, name: str) -> Carried:
    """A photo's pixels, and what goes with them.

    Args:
        reader: made with `functions=(FUNCTION,)`.
        content: of the file.
        name: for the log.

    Raises:
        UnusablePhotoError: as of `PhotoReader.pixels`.
    """
    answer = reader.call(FUNCTION, content, name, 1)
    values = answer.values
    pixels = _whole(answer.pixels, values.get("deep") is True)
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or min(pixels.shape[:2]) < 1:
        raise UnusablePhotoError(Reason.HOSTILE, "its decoder gave no picture")
    try:
        exif, xmp, iptc = (base64.b64decode(str(values[key]), validate=True) for key in ("exif", "xmp", "iptc"))
        dpi = None if values["dpi"] is None else (float(values["dpi"][0]), float(values["dpi"][1]))
        was = str(values["was"])[:40]
        grey, profiled = bool(values["grey"]), bool(values["profiled"])
    except (KeyError, IndexError, TypeError, ValueError, binascii.Error) as error:
        raise UnusablePhotoError(Reason.HOSTILE, "its decoder gave metadata that are none") from error
    alpha = pixels[..., 3].copy() if pixels.shape[2] == 4 else None
    colours = pixels[..., :3].copy()
    return Carried(colours, alpha, grey, exif, xmp, iptc, _plausible(dpi), profiled, was)


def _whole(pixels: NDArray[np.uint8], deep: bool) -> Pixels:
    """Bytes as the samples that they are."""
    if not deep or pixels.ndim != 3 or pixels.shape[2] % 2:
        return pixels
    return np.ascontiguousarray(pixels).view(np.uint16)


def _plausible(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    return dpi if dpi and all(math.isfinite(one) and 1 <= one <= 1e5 for one in dpi) else None


def carried(data: bytes, photo: NDArray[np.uint8]) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """In a decoder: what stands in the file beside its pixels; the pixels, [H, W, 3], or with alpha [H, W, 4]."""
    found = _pixels(data, photo)
    deep = found.dtype == np.uint16
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.format == "PNG":
            image.load()  # its metadata may stand behind the pixels
        exif, xmp, iptc = _within(MOST_BYTES, _exif(image), _xmp(image), _iptc(image))
        values = {
            "exif": _text(exif),
            "xmp": _text(xmp),
            "iptc": _text(iptc),
            "dpi": _dpi(image),
            "profiled": bool(image.info.get("icc_profile")),
            "grey": _is_grey(image, data),
            "was": _was(image, data),
            "deep": deep,
        }
    return values, found.view(np.uint8)


def _pixels(data: bytes, photo: NDArray[np.uint8]) -> Pixels:
    deep = read_deep(data, photo)
    if deep is not None:
        return deep if deep.shape[2] == 3 else coloured(deep)
    transparent = read_transparent(data)
    return photo if transparent is None else coloured(transparent)


def coloured(picture: Pixels) -> Pixels:
    """RGBA whose fully transparent pixels have the colours around them: enlarged, they show at the edges."""
    white = float(np.iinfo(picture.dtype).max)
    alpha = picture[..., 3:].astype(np.float32) / white
    near = cv2.GaussianBlur(picture[..., :3].astype(np.float32) * alpha, (0, 0), FADE)
    weight = cv2.GaussianBlur(alpha[..., 0], (0, 0), FADE)[..., None]
    around = np.where(weight > 1e-4, near / np.maximum(weight, 1e-4), white)
    result = picture.copy()
    result[..., :3] = np.where(alpha > 0, picture[..., :3], around.clip(0, white).round().astype(picture.dtype))
    return result


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _within(most: int, *parts: bytes) -> list[bytes]:
    """The parts in order; one that no longer fits is left out."""
    kept = []
    for part in parts:
        kept.append(part if len(part) <= most else b"")
        most -= len(kept[-1])
    return kept


def _exif(image: Image.Image) -> bytes:
    """What the camera wrote, for another picture: of another size, upright, and without the old one's preview."""
    try:
        found = image.getexif()
        if not len(found):
            return b""
        # TIFF keeps how its pixels lie among the same tags
        told = {tag: value for tag, value in dict(found).items() if tag in _DESCRIPTIVE}
        inner = {
            tag: value
            for tag, value in found.get_ifd(ExifTags.IFD.Exif).items()
            if tag not in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight, ExifTags.IFD.Interop)
        }
        place = dict(found.get_ifd(ExifTags.IFD.GPSInfo))
        if not (told or inner or place):
            return b""
        result = Image.Exif()
        result.update(told)
        for tag, block in ((ExifTags.IFD.Exif, inner), (ExifTags.IFD.GPSInfo, place)):
            if block:
                result.get_ifd(tag).update(block)
        return result.tobytes()
    except Exception:  # noqa: BLE001  # cameras write EXIF data in many ways, and damaged ones too
        return b""


_DESCRIPTIVE = frozenset(
    (
        ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software,
        ExifTags.Base.DateTime, ExifTags.Base.Artist, ExifTags.Base.HostComputer, ExifTags.Base.Copyright,
        ExifTags.Base.DocumentName, ExifTags.Base.Rating, ExifTags.Base.XPTitle, ExifTags.Base.XPComment,
        ExifTags.Base.XPAuthor, ExifTags.Base.XPKeywords, ExifTags.Base.XPSubject,
    )
)  # fmt: skip


def _xmp(image: Image.Image) -> bytes:
    found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    if not found and image.format in ("TIFF", "MPO"):
        found = getattr(image, "tag_v2", {}).get(_XMP_TAG, b"")
    return found.encode() if isinstance(found, str) else bytes(found)


def _iptc(image: Image.Image) -> bytes:
    blocks = image.info.get("photoshop")
    found = blocks.get(_IPTC) if isinstance(blocks, dict) else getattr(image, "tag_v2", {}).get(_IPTC_TAG)
    return bytes(found) if isinstance(found, bytes) else b""


def _dpi(image: Image.Image) -> list[float] | None:
    found = image.info.get("dpi")
    try:
        return [float(found[0]), float(found[1])] if found else None
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None


def _is_grey(image: Image.Image, data: bytes) -> bool:
    """Pillow makes colours of a PNG's grey with alpha of 16 bits."""
    return image.mode in GREY or (image.format == "PNG" and data[_PNG_KIND] in _PNG_GREY)


def _was(image: Image.Image, data: bytes) -> str:
    if image.mode in _SIXTEEN or has_16_bits(image, data):
        return "16 bits"
    if (bits := newer.bits_of(image, data)) > 8:
        return f"{bits} bits"
    return _KINDS.get(image.mode, "")
