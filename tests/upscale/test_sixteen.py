"""Photos of 16 bits are restored with 16 bits, where the result's format has them."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tifffile import TiffFile, imwrite

from components.artifacts.depth import as_8bit
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.settings import TinyFlowSettings
from components.upscale.carried import FUNCTION, Carried, read_carried
from components.upscale.encode import SAVE_OPTIONS, encoded
from components.upscale.size import resized
from components.upscale.upscaler import Tiling, Upscaler
from tests.photos.test_colour_profile import ADOBE, SRGB, srgb_of_adobe
from tests.upscale.conftest import photo
from tests.upscale.pictures import XMP, camera_exif

GRADIENT = np.repeat(np.repeat(np.linspace(20_000, 30_000, 48)[None, :, None], 32, 0), 3, 2).astype(np.uint16)
RNG = np.random.default_rng(1)
LIKE_A_PHOTO = photo(32, 48).astype(np.uint16) * 257 // 2 + RNG.integers(0, 200, (32, 48, 3), dtype=np.uint16)


@pytest.fixture(scope="module")
def reader() -> Iterator[PhotoReader]:
    with PhotoReader(Limits.of(100_000), 1, (FUNCTION,)) as reader:
        yield reader


@pytest.fixture(scope="module")
def upscaler(model_folder: Path) -> Upscaler:
    settings = TinyFlowSettings(family="tiny_flow", path=model_folder, steps=2, colour_fix="wavelet")
    return Upscaler.load(model_folder, settings, torch.device("cpu"), Tiling(24, 8))


def png(pixels: NDArray[np.uint16]) -> bytes:
    order = [2, 1, 0, 3][: pixels.shape[2]] if pixels.ndim == 3 else slice(None)
    return bytes(cv2.imencode(".png", pixels[..., order] if pixels.ndim == 3 else pixels)[1])


def tiff(pixels: NDArray[np.uint16], **options: Any) -> bytes:
    buffer = io.BytesIO()
    imwrite(buffer, pixels, metadata=None, **{"photometric": "rgb"} | options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        png(LIKE_A_PHOTO),
        tiff(LIKE_A_PHOTO),
        tiff(LIKE_A_PHOTO, compression="zlib"),
        tiff(np.moveaxis(LIKE_A_PHOTO, -1, 0), planarconfig="separate"),
        encoded(LIKE_A_PHOTO, ".png"),
        encoded(LIKE_A_PHOTO, ".tif"),
    ],
    ids=["png", "tiff", "tiff deflate", "tiff planes", "our png", "our tiff"],
)
def test_all_16_bits_are_read(content: bytes, reader: PhotoReader) -> None:
    found = read_carried(reader, content, "")
    assert np.array_equal(found.pixels, LIKE_A_PHOTO)
    assert found.was == "16 bits"
    assert (found.lost(sixteen=True), found.lost(sixteen=False)) == ("", "16 bits")


@pytest.mark.parametrize("content", [png(LIKE_A_PHOTO[..., 0]), tiff(LIKE_A_PHOTO[..., 0], photometric="minisblack")])
def test_grey_is_read_and_stays_grey(content: bytes, reader: PhotoReader) -> None:
    found = read_carried(reader, content, "")
    assert np.array_equal(found.pixels, LIKE_A_PHOTO[..., [0, 0, 0]])
    assert found.grey
    for suffix in (".png", ".tif"):
        again = read_carried(reader, encoded(found.pixels, suffix, found), "")
        assert again.grey
        assert np.abs(again.pixels.astype(int) - found.pixels).max() <= 1  # of 65535: luma's rounding


def test_white_as_zero_is_turned_around(reader: PhotoReader) -> None:
    content = tiff(65535 - LIKE_A_PHOTO[..., 0], photometric="miniswhite")
    assert np.array_equal(read_carried(reader, content, "").pixels[..., 0], LIKE_A_PHOTO[..., 0])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_transparency_and_what_is_carried_come_back(suffix: str, reader: PhotoReader) -> None:
    alpha = np.tile(np.linspace(1, 65535, 48).astype(np.uint16), (32, 1))
    exif = camera_exif().tobytes()
    content = encoded(LIKE_A_PHOTO, suffix, Carried(LIKE_A_PHOTO, alpha, exif=exif, xmp=XMP, dpi=(300.0, 300.0)))
    found = read_carried(reader, content, "")
    assert np.array_equal(found.alpha, alpha)
    assert np.array_equal(found.pixels, LIKE_A_PHOTO)
    assert found.xmp == XMP
    assert found.dpi == pytest.approx((300.0, 300.0), abs=0.01)
    with Image.open(io.BytesIO(content)) as image:
        assert image.getexif()[0x010F] == "Maker"


def test_a_photo_that_lies_is_turned(reader: PhotoReader) -> None:
    carried = Carried(LIKE_A_PHOTO, exif=camera_exif(6).tobytes())
    found = read_carried(reader, encoded(LIKE_A_PHOTO, ".png", carried), "")
    assert np.array_equal(found.pixels, np.rot90(LIKE_A_PHOTO, -1))


def test_a_profile_becomes_srgb_with_16_bits(reader: PhotoReader) -> None:
    wide = (LIKE_A_PHOTO // 2 + 16_000).astype(np.uint16)  # within sRGB
    buffer = tiff(wide, iccprofile=ADOBE)
    found = read_carried(reader, buffer, "")
    assert found.pixels.dtype == np.uint16
    wanted = srgb_of_adobe(wide / 65535.0 * 255.0) * 257.0
    assert np.abs(found.pixels - wanted).max() < 40  # of 65535; 8 bits are 257 apart
    same = read_carried(reader, tiff(wide, iccprofile=SRGB), "").pixels
    assert np.abs(same.astype(int) - wide).max() < 40


def test_8_bits_stay_8_bits(reader: PhotoReader) -> None:
    content = encoded(photo(20, 30), ".png")
    assert read_carried(reader, content, "").pixels.dtype == np.uint8


def test_a_gradient_has_more_than_256_levels(upscaler: Upscaler) -> None:
    made = upscaler(GRADIENT, 0)
    assert made.dtype == np.uint16
    assert len(np.unique(made)) > 1000
    assert len(np.unique(upscaler(as_8bit(GRADIENT), 0))) <= 256


def test_rounded_to_8_bits_it_is_what_8_bits_give(upscaler: Upscaler) -> None:
    eight = photo(40, 56)  # several tiles
    deep = upscaler(eight.astype(np.uint16) * 257, 3)
    assert np.abs(as_8bit(deep).astype(int) - upscaler(eight, 3)).max() <= 1
    half = resized(deep, (112, 80))
    assert half.dtype == np.uint16
    assert np.abs(as_8bit(half).astype(int) - resized(upscaler(eight, 3), (112, 80))).max() <= 1


@pytest.mark.parametrize("suffix", sorted(SAVE_OPTIONS))
def test_every_format_is_written_of_16_bits(suffix: str, reader: PhotoReader) -> None:
    content = encoded(LIKE_A_PHOTO, suffix, replace(Carried(LIKE_A_PHOTO), profiled=True))
    found = read_carried(reader, content, "")
    assert found.pixels.dtype == (np.uint16 if suffix in (".png", ".tif", ".tiff") else np.uint8)
    assert np.abs(as_8bit(found.pixels).astype(int) - as_8bit(LIKE_A_PHOTO)).mean() < 6


def test_our_tiff_is_one_for_others_too() -> None:
    with TiffFile(io.BytesIO(encoded(LIKE_A_PHOTO, ".tif"))) as file:
        assert np.array_equal(file.pages.first.asarray(), LIKE_A_PHOTO)
    opened = cv2.imdecode(np.frombuffer(encoded(LIKE_A_PHOTO, ".tif"), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(opened[..., ::-1], LIKE_A_PHOTO)
