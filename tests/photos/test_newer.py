"""HEIC, AVIF and JPEG XL: upright once, in sRGB, within limits, and refused with a reason."""

import io
import os
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from components.photos import newer
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.photos.reading import read_photo
from components.photos.unusable import Reason, UnusablePhotoError
from tests.photos.test_colour_profile import ADOBE
from tests.upscale.conftest import photo
from tests.upscale.pictures import camera_exif

UPRIGHT = photo(48, 64)
KINDS = {
    "HEIF": {"quality": 95, "chroma": 444},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "JXL": {"lossless": True},
}


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **KINDS[kind] | options)
    return buffer.getvalue()


def read(data: bytes, most: int = 10_000) -> NDArray[np.uint8]:
    return read_photo(data, 1, most)


def apart(pixels: NDArray[np.uint8], wanted: NDArray[np.uint8] = UPRIGHT) -> float:
    assert pixels.shape == wanted.shape
    return float(np.abs(pixels.astype(float) - wanted).mean())


@pytest.fixture(scope="module")
def reader() -> Iterator[PhotoReader]:
    with PhotoReader(Limits(10_000, 100_000, 10.0), 1) as reader:
        yield reader


@pytest.mark.parametrize("kind", KINDS)
def test_the_confined_child_reads_them_without_threads_of_theirs(kind: str, reader: PhotoReader) -> None:
    assert apart(reader.pixels(saved(Image.fromarray(UPRIGHT), kind))) < 3
    (child,) = reader._idle
    assert len(os.listdir(f"/proc/{child.pid}/task")) <= 2  # its own, and one that a library started before


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
@pytest.mark.parametrize(
    ("orientation", "how"),
    [(6, Image.Transpose.ROTATE_90), (8, Image.Transpose.ROTATE_270), (3, Image.Transpose.ROTATE_180),
     (2, Image.Transpose.FLIP_LEFT_RIGHT), (5, Image.Transpose.TRANSPOSE)],
)  # fmt: skip
def test_a_turned_photo_is_upright_once(kind: str, orientation: int, how: Image.Transpose) -> None:
    lying = Image.fromarray(UPRIGHT).transpose(how)
    data = saved(lying, kind, exif=camera_exif(orientation).tobytes())
    assert apart(read(data)) < 3


def test_jpeg_xl_is_turned_by_its_own_header_alone() -> None:
    data = saved(Image.fromarray(UPRIGHT), "JXL", exif=camera_exif(6).tobytes())
    assert apart(read(data)) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_transparency_is_shown_on_white(kind: str) -> None:
    clear = np.concatenate([UPRIGHT, np.zeros_like(UPRIGHT[..., :1])], axis=-1)
    assert read(saved(Image.fromarray(clear), kind)).min() >= 250


@pytest.mark.parametrize("kind", KINDS)
def test_grey_is_read(kind: str) -> None:
    grey = Image.fromarray(UPRIGHT).convert("L")
    assert apart(read(saved(grey, kind)), np.asarray(grey.convert("RGB"))) < 3


def test_10_and_12_bits_of_heic_become_8() -> None:
    deep = pillow_heif.from_bytes("RGB;16", UPRIGHT.shape[1::-1], (UPRIGHT.astype(np.uint16) * 257).tobytes())
    buffer = io.BytesIO()
    deep.save(buffer, quality=95, chroma=444)
    with Image.open(io.BytesIO(buffer.getvalue())) as image:
        assert newer.bits_of(image, buffer.getvalue()) == 10
    assert apart(read(buffer.getvalue())) < 3


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_the_colours_of_a_profile_become_srgb(kind: str) -> None:
    plain = read(saved(Image.fromarray(UPRIGHT), kind))
    wide = read(saved(Image.fromarray(UPRIGHT), kind, icc_profile=ADOBE))
    assert apart(wide, plain) > 2


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_pixels_are_refused_before_they_are_decoded(kind: str) -> None:
    data = saved(Image.fromarray(UPRIGHT), kind)
    with pytest.raises(UnusablePhotoError) as caught:
        read(data, UPRIGHT.shape[0] * UPRIGHT.shape[1] - 1)
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize(("width", "height"), [(8, 8), (64, 48), (256, 256), (257, 3), (9, 600), (640, 360)])
def test_the_size_in_a_jpeg_xl_header_is_read(width: int, height: int) -> None:
    for options in ({}, {"use_container": True}):
        data = saved(Image.new("RGB", (width, height)), "JXL", **options)
        newer.check_jpeg_xl(data, width * height)
        with pytest.raises(UnusablePhotoError, match=f"{width}×{height}"):
            newer.check_jpeg_xl(data, width * height - 1)


def test_a_jpeg_xl_bomb_is_refused_by_its_header() -> None:
    # SizeHeader: not small, height of 30 bits, ratio 1:1
    bits = 0 | 3 << 1 | (2**30 - 1) << 3 | 1 << 33
    data = b"\xff\x0a" + bits.to_bytes(8, "little") + bytes(100)
    with pytest.raises(UnusablePhotoError) as caught:
        read(data)
    assert caught.value.reason is Reason.TOO_LARGE


def test_brightness_beyond_white_is_refused() -> None:
    data = saved(Image.fromarray(UPRIGHT), "AVIF")
    place = data.index(b"colrnclx")
    for transfer, name in ((16, "PQ"), (18, "HLG")):
        changed = data[: place + 10] + struct.pack(">H", transfer) + data[place + 12 :]
        with pytest.raises(UnusablePhotoError, match=name):
            read(changed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_file_that_was_cut_is_a_reason(kind: str, share: float, reader: PhotoReader) -> None:
    data = saved(Image.fromarray(UPRIGHT), kind)
    with pytest.raises(UnusablePhotoError) as caught:
        reader.pixels(data[: int(len(data) * share)])
    assert caught.value.reason in (Reason.TRUNCATED, Reason.UNREADABLE)


def test_an_avif_animation_is_refused() -> None:
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")]
    data = saved(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    with pytest.raises(UnusablePhotoError) as caught:
        read(data)
    assert caught.value.reason is Reason.MULTIPLE_FRAMES


def test_of_several_still_pictures_in_a_heic_the_primary_is_the_photo() -> None:
    frames = [Image.fromarray(UPRIGHT), Image.new("RGB", (64, 48), "blue")]
    data = saved(frames[0], "HEIF", save_all=True, append_images=frames[1:], primary_index=0)
    assert apart(read(data)) < 3
