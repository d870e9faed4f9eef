"""Every kind of file a folder of photos holds, made here and read back."""

import io
import re
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from components.photos.reading import read_photo
from components.photos.unusable import Reason, UnusablePhotoError

ORIENTATION = 0x0112


def _read(data: bytes, min_side: int = 16, max_pixels: int = 10_000_000) -> NDArray[np.uint8]:
    return read_photo(data, min_side, max_pixels)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _reason(data: bytes, **limits: int) -> Reason:
    with pytest.raises(UnusablePhotoError) as caught:
        _read(data, **limits)
    return caught.value.reason


def test_a_reason_is_one_line_without_an_end() -> None:
    assert UnusablePhotoError(Reason.UNREADABLE, "cut at\nbyte 378\n").detail == r"cut at\nbyte 378"


def _noise(width: int = 96, height: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def _quadrants() -> NDArray[np.uint8]:
    """48 × 32 pixels; red, green over blue, white: no two of the eight orientations look alike."""
    picture = np.zeros((32, 48, 3), dtype=np.uint8)
    picture[:16, :24] = (255, 0, 0)
    picture[:16, 24:] = (0, 255, 0)
    picture[16:, :24] = (0, 0, 255)
    picture[16:, 24:] = (255, 255, 255)
    return picture


STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda upright: np.rot90(upright, -1),
}
"""EXIF orientation → how a camera held that way stores the upright picture."""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("JPEG", {"quality": 100, "subsampling": 0})])
def test_exif_rotation(orientation: int, kind: str, options: dict[str, Any]) -> None:
    upright = _quadrants()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    read = _read(_saved(stored, kind, exif=exif, **options))
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).max() <= (0 if kind == "PNG" else 4)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_rounded(kind: str) -> None:
    grey = np.zeros((16, 16), dtype=np.uint16)
    grey[0, :5] = (0, 128, 129, 257 * 100, 65535)  # 128 / 257 = 0.498, 129 / 257 = 0.502
    read = _read(_saved(Image.fromarray(grey), kind))
    np.testing.assert_array_equal(read[0, :5, 0], [0, 0, 1, 100, 255])
    np.testing.assert_array_equal(read[..., 0], read[..., 2])


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bit_colour_keeps_the_high_byte(suffix: str) -> None:
    colour = np.zeros((16, 16, 3), dtype=np.uint16)
    colour[...] = (0x1234, 0x80FF, 0xFFFF)  # blue, green, red for OpenCV
    encoded, data = cv2.imencode(suffix, colour)
    assert encoded
    np.testing.assert_array_equal(_read(data.tobytes())[3, 3], [0xFF, 0x80, 0x12])


def test_grey_jpeg_becomes_three_equal_channels() -> None:
    read = _read(_saved(Image.new("L", (32, 32), 77), "JPEG"))
    np.testing.assert_array_equal(read, np.full((32, 32, 3), 77))


def test_cmyk_jpeg() -> None:
    read = _read(_saved(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.abs(read.astype(int) - (255, 0, 0)).max() <= 4


def test_one_bit_tiff() -> None:
    read = _read(_saved(Image.new("1", (32, 32), 1), "TIFF"))
    np.testing.assert_array_equal(read, np.full((32, 32, 3), 255))


def test_palette_with_a_transparent_entry_shows_white_through() -> None:
    image = Image.new("P", (32, 16), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (16, 0, 32, 16))
    read = _read(_saved(image, "PNG", transparency=0))
    np.testing.assert_array_equal(read[0, 0], [255, 255, 255])
    np.testing.assert_array_equal(read[0, 31], [0, 0, 255])


def test_palette_without_transparency_keeps_its_colours() -> None:
    image = Image.new("P", (16, 16), 0)
    image.putpalette([255, 0, 0])
    np.testing.assert_array_equal(_read(_saved(image, "PNG"))[0, 0], [255, 0, 0])


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (0, 0, 0, 128)), ("LA", (0, 128))])
def test_half_transparent_black_on_white(mode: str, colour: tuple[int, ...]) -> None:
    read = _read(_saved(Image.new(mode, (16, 16), colour), "PNG"))
    np.testing.assert_array_equal(read[0, 0], [127, 127, 127])  # 255 · (1 − 128 / 255)


def test_lossless_webp_is_exact() -> None:
    image = _noise()
    np.testing.assert_array_equal(_read(_saved(image, "WEBP", lossless=True)), np.asarray(image))


def test_first_picture_of_an_mpo_is_the_photo() -> None:
    data = _saved(
        Image.new("RGB", (64, 48), (0, 200, 0)), "MPO", save_all=True, append_images=[Image.new("RGB", (32, 24))]
    )
    read = _read(data)
    assert read.shape == (48, 64, 3)
    assert abs(int(read[0, 0, 1]) - 200) <= 2


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "PNG", "TIFF"])
def test_animations_and_pages_are_refused(kind: str) -> None:
    frames = [Image.new("RGB", (32, 32), (40 * i, 0, 0)) for i in range(3)]
    assert _reason(_saved(frames[0], kind, save_all=True, append_images=frames[1:])) is Reason.MULTIPLE_FRAMES


def test_a_gif_of_one_frame_is_a_photo() -> None:
    assert _read(_saved(_noise().convert("P"), "GIF")).shape == (64, 96, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_truncated_files(kind: str, share: float) -> None:
    data = _saved(_noise(), kind)
    assert _reason(data[: int(len(data) * share)]) is Reason.TRUNCATED


def _scans(jpeg: bytes) -> list[tuple[int, int]]:
    """Where each scan's coded data begin and end."""
    starts = [match.end() + jpeg[match.end() + 1] for match in re.finditer(rb"\xff\xda", jpeg)]
    return [(start, re.compile(rb"\xff[^\0\xd0-\xd7]").search(jpeg, start).start()) for start in starts]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"quality": 100, "subsampling": 0}]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_was_cut_and_closed_is_truncated(mode: str, options: dict[str, Any]) -> None:
    """libjpeg fills up with grey, or with what came last, and Pillow says nothing of its warning."""
    image = _noise(160, 128).convert(mode)
    data = _saved(image, "JPEG", **options)
    assert _read(data).shape == (128, 160, 3)
    for start, end in _scans(data):
        for share in (0.1, 0.34, 0.7, 0.9):
            cut = start + int(share * (end - start))
            assert _reason(data[:cut] + b"\xff\xd9") is Reason.TRUNCATED, cut


def test_bytes_too_many_at_a_jpeg_s_end_are_no_damage() -> None:
    """Some cameras pad their files, within the picture and behind it."""
    data = _saved(_noise(), "JPEG")
    whole = _read(data)
    np.testing.assert_array_equal(_read(data[:-2] + bytes(7) + b"\xff\xd9"), whole)
    np.testing.assert_array_equal(_read(data + bytes(1000)), whole)


def test_exif_data_of_an_odd_type_leave_the_picture_as_it_is() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = _saved(Image.fromarray(_quadrants()), "JPEG", exif=exif)
    entry = data.index(b"\x01\x12\x00\x03")
    upright = _read(_saved(Image.fromarray(_quadrants()), "JPEG"))
    assert _read(data).shape != upright.shape
    for kind in range(256):
        odd = data[: entry + 3] + bytes([kind]) + data[entry + 4 :]
        assert _read(odd).shape[2] == 3, kind
    for count in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\2"):
        assert _read(data[: entry + 4] + count + data[entry + 8 :]).shape[2] == 3


def test_a_decoder_s_own_errors_are_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's plug-ins trip over damaged files by any error that Python has."""
    for error in (TypeError, AttributeError, KeyError, ZeroDivisionError, RecursionError, AssertionError):

        def load(image: Image.Image, error: type[Exception] = error) -> None:
            raise error("odd\nfile")

        monkeypatch.setattr(PngImageFile, "load", load)
        with pytest.raises(UnusablePhotoError, match=rf"failed with {error.__name__}: .*odd\\nfile") as caught:
            _read(_saved(_noise(), "PNG"))
        assert caught.value.reason is Reason.UNREADABLE


def test_too_little_memory_is_not_the_file_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(image: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(PngImageFile, "load", load)
    with pytest.raises(MemoryError):
        _read(_saved(_noise(), "PNG"))


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has hardly any pixel data."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [4_000, 12_000, 40_000])
def test_decompression_bombs_are_refused_by_their_header(side: int) -> None:
    # 16 Mpx is above the limit given here, 144 Mpx makes Pillow warn, 1,600 Mpx is above Pillow's own limit
    assert _reason(_png_header(side, side), max_pixels=15_000_000) is Reason.TOO_LARGE


def test_the_pixel_limit_is_inclusive() -> None:
    data = _saved(_noise(100, 50), "PNG")
    assert _read(data, max_pixels=5_000).shape == (50, 100, 3)
    assert _reason(data, max_pixels=4_999) is Reason.TOO_LARGE


def test_the_side_limit_is_inclusive() -> None:
    data = _saved(_noise(300, 31), "PNG")
    assert _read(data, min_side=31).shape == (31, 300, 3)
    assert _reason(data, min_side=32) is Reason.TOO_SMALL


@pytest.mark.parametrize("data", [b"", b"no image at all", b"\xff\xd8\xff", bytes(1000)])
def test_what_is_no_image_is_unreadable(data: bytes) -> None:
    assert _reason(data) is Reason.UNREADABLE


def test_float_pixels_are_unsupported() -> None:
    assert _reason(_saved(Image.fromarray(np.zeros((32, 32), dtype=np.float32)), "TIFF")) is Reason.UNSUPPORTED


def test_thirty_two_bit_values_are_unsupported() -> None:
    wide = np.full((32, 32), 70_000, dtype=np.int32)
    assert _reason(_saved(Image.fromarray(wide), "TIFF")) is Reason.UNSUPPORTED
