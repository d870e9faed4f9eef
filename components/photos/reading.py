"""One photo file → upright 8-bit RGB pixels, or the reason why it cannot be used.

Decoders written in C read what strangers sent: outside of tests this runs in a child process (`PhotoReader`).
"""

from __future__ import annotations

import io
import logging
import struct
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from components.photos import jpeg, newer, tiff
from components.photos.colour_profile import in_srgb
from components.photos.unusable import Reason, UnusablePhotoError

logger = logging.getLogger("dp2o.photos")

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", newer.HEIF, newer.AVIF, newer.JXL)
SUFFIXES = frozenset(".jpg .jpeg .jpe .png .webp .tif .tiff .gif .bmp .heic .heif .hif .avif .jxl .jp2".split())  # noqa: SIM905
"""Files with these suffixes are taken for photos; those of formats not read here end in quarantine, not in silence."""
BACKGROUND = (255, 255, 255)
"""What shows through transparent pixels: white, as in most viewers."""

_GREY_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation, what makes a picture upright."""
_ARRAY_TURNS = {
    Image.Transpose.FLIP_LEFT_RIGHT: (False, 1, -1),
    Image.Transpose.ROTATE_180: (False, -1, -1),
    Image.Transpose.FLIP_TOP_BOTTOM: (False, -1, 1),
    Image.Transpose.TRANSPOSE: (True, 1, 1),
    Image.Transpose.ROTATE_270: (True, 1, -1),
    Image.Transpose.TRANSVERSE: (True, -1, -1),
    Image.Transpose.ROTATE_90: (True, -1, 1),
}
"""The same for arrays: whether rows and columns change places, and the steps through them then."""
_TO_EIGHT_BITS = ((np.arange(65536, dtype=np.int64) * 255 + 32767) // 65535).astype(np.uint8)
"""16-bit values, rounded."""
_EIGHT_BIT = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


def read_photo(data: bytes, min_side: int, max_pixels: int) -> NDArray[np.uint8]:
    """Decodes a photo.

    EXIF rotation is applied. Grey, palette and CMYK become RGB, 16 bits become 8 (grey rounded, colour by its high
    byte), transparency is composited on white. What a colour profile comes with is in sRGB afterwards.

    Args:
        data: the file's content: JPEG, PNG, WebP, TIFF, HEIC, AVIF, JPEG XL, or a GIF of one frame.
        min_side: smallest width and height accepted, pixels.
        max_pixels: largest width × height accepted, checked in the header, before any pixel is decoded. Above
            178,956,970 Pillow's own limit for decompression bombs comes first.

    Returns:
        RGB, uint8 [H, W, 3]; not to be written to.

    Raises:
        UnusablePhotoError: unreadable, truncated, too small or large, several frames or pages, or an unsupported
            pixel type.
        MemoryError: there is too little for it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # max_pixels is the limit here
        try:
            newer.check_jpeg_xl(data, max_pixels)
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                _check_header(opened, data, min_side, max_pixels)
                if opened.format in ("JPEG", "MPO"):
                    jpeg.check_whole(data)
                image = tiff.corrected(opened, data) if isinstance(opened, TiffImageFile) else opened
                image.load()
                return _to_rgb(upright(image))
        except (UnusablePhotoError, MemoryError):
            raise
        except Image.DecompressionBombError as error:
            raise UnusablePhotoError(Reason.TOO_LARGE, str(error)) from error
        except UnidentifiedImageError as error:
            if _is_cut_riff(data):
                raise UnusablePhotoError(Reason.TRUNCATED, "the file is shorter than its RIFF header says") from error
            if data.startswith(tiff.MAGIC):
                raise UnusablePhotoError(
                    Reason.UNSUPPORTED, "this kind of TIFF is not read here: save it as 8 or 16 bit, grey or RGB"
                ) from error
            raise UnusablePhotoError(Reason.UNREADABLE, f"not a {', '.join(FORMATS)} image") from error
        except (OSError, SyntaxError, ValueError, struct.error, EOFError) as error:
            # Pillow reports damage by all of these, each after its own format's decoder
            cut = "truncated" in str(error) or isinstance(error, EOFError) or _is_cut_riff(data)
            raise UnusablePhotoError(Reason.TRUNCATED if cut else Reason.UNREADABLE, f"{error}") from error
        except Exception as error:  # a plug-in of Pillow's trips over a damaged file by any error Python has
            raise UnusablePhotoError(Reason.UNREADABLE, _tripped(error)) from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of a decoder in Rust, and no Exception
                raise
            raise UnusablePhotoError(Reason.UNREADABLE, _tripped(error)) from error


def _tripped(error: BaseException) -> str:
    return f"its decoder failed with {type(error).__name__}: {error}"


def _check_header(image: Image.Image, data: bytes, min_side: int, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise UnusablePhotoError(Reason.TOO_LARGE, f"{width}×{height} pixels are more than max_pixels {max_pixels}")
    if image.format in (newer.HEIF, newer.AVIF):
        newer.check_brightness(data)
    if _has_frames(image, data):
        raise UnusablePhotoError(
            Reason.MULTIPLE_FRAMES, "several frames or pages: save the one you want as its own file"
        )
    if min(width, height) < min_side:
        raise UnusablePhotoError(Reason.TOO_SMALL, f"{width}×{height} pixels, a side is below {min_side}")


def _has_frames(image: Image.Image, data: bytes) -> bool:
    """Whether there is a second frame or page. To count them all would decode them."""
    if (
        image.format == "MPO"
    ):  # a JPEG with previews or depth behind it, as cameras write: its first picture is the photo
        return False
    if image.format == "TIFF":
        return tiff.has_pages(data)
    if image.format == newer.HEIF:
        return newer.has_frames(image, data)
    return bool(getattr(image, "is_animated", False))


def upright(image: Image.Image) -> Image.Image:
    """`image` turned as its EXIF data say; where those cannot be read it is taken for upright, as viewers do."""
    method = _turn(image)
    return image if method is None else image.transpose(method)


def turned(pixels: NDArray[np.uint16], image: Image.Image) -> NDArray[np.uint16]:
    """`[H, W, ...]` as they stand in the file of `image`, turned as its EXIF data say."""
    method = _turn(image)
    if method is None:
        return pixels
    swaps, rows, columns = _ARRAY_TURNS[method]
    found = pixels.swapaxes(0, 1) if swaps else pixels
    return np.ascontiguousarray(found[::rows, ::columns])


def _turn(image: Image.Image) -> Image.Transpose | None:
    if newer.turns_itself(image):
        return None
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception as error:  # noqa: BLE001  # cameras write EXIF data in many ways, and damaged ones too
        logger.warning("the EXIF data cannot be read (%s: %s): taken for upright", type(error).__name__, error)
        return None


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in _GREY_16_BIT or image.mode == "I":
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 65535:
            raise UnusablePhotoError(
                Reason.UNSUPPORTED, f"32-bit values {grey.min()} … {grey.max()} have no agreed white"
            )
        eight_bit = Image.fromarray(_TO_EIGHT_BITS[grey])
        return np.asarray(in_srgb(eight_bit, image.info.get("icc_profile")))
    if image.mode not in _EIGHT_BIT:
        raise UnusablePhotoError(
            Reason.UNSUPPORTED, f"pixel type {image.mode} is not read here: save it as 8 or 16 bit"
        )
    if not image.has_transparency_data:
        return np.asarray(in_srgb(image, image.info.get("icc_profile")))
    opaque = Image.new("RGBA", image.size, (*BACKGROUND, 255))
    return np.asarray(Image.alpha_composite(opaque, _rgba(image)).convert("RGB"))


def _rgba(image: Image.Image) -> Image.Image:
    picture = image.convert("RGBA")
    colours = in_srgb(picture.convert("RGB"), image.info.get("icc_profile"))
    colours.putalpha(picture.getchannel("A"))
    return colours


def read_transparent(data: bytes) -> NDArray[np.uint8] | None:
    """Colours in sRGB as they stand in the file, and alpha, upright: uint8 [H, W, 4]; None without transparent pixels.

    Args:
        data: what `read_photo` has read.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        if not opened.has_transparency_data:
            return None
        image = tiff.corrected(opened, data) if isinstance(opened, TiffImageFile) else opened
        image.load()
        pixels = np.asarray(_rgba(upright(image)))
    return pixels if pixels[..., 3].min() < 255 else None


def _is_cut_riff(data: bytes) -> bool:
    """True for a WebP shorter than the size in its header: its decoder calls such a file anything but truncated."""
    return data[:4] == b"RIFF" and len(data) >= 8 and len(data) < 8 + int.from_bytes(data[4:8], "little")
