"""Pictures with a colour profile are used in sRGB, whatever their file and pixels."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from components.photos.reading import read_photo

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

ADOBE_TO_XYZ_D50 = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
"""Adobe RGB (1998), annex of its specification, adapted to D50."""
XYZ_D50_TO_SRGB = np.linalg.inv(
    np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
)
"""Inverse of IEC 61966-2-1's primaries, adapted to D50."""
GAMMA = 563 / 256


def matrix_profile(columns: NDArray[np.float64], gamma: float, space: bytes = b"RGB ") -> bytes:
    """An ICC profile (version 2.1, section 6) of three primaries, or of grey, with a power curve."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    description = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78 + 1)
    tags = {b"desc": description, b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249)}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        for name, column in zip(b"rgb", columns.T, strict=True):
            tags[bytes([name]) + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*column)
            tags[bytes([name]) + b"TRC"] = curve
    table, body, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += padded
    header = bytes(4) + bytes(4) + bytes.fromhex("02100000") + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp"
    header += bytes(28) + fixed(0.9642, 1.0, 0.8249) + bytes(48)
    profile = header[:128] + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(profile)) + profile[4:]


ADOBE = matrix_profile(ADOBE_TO_XYZ_D50, GAMMA)

levels = np.array([30, 80, 128, 180, 230], np.uint8)
PATCHES = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(5, 25, 3)
PATCHES = PATCHES.repeat(8, axis=0).repeat(8, axis=1)


def srgb_of_adobe(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Worked out from the two specifications, clipped to what sRGB holds."""
    linear = (pixels / 255.0) ** GAMMA @ ADOBE_TO_XYZ_D50.T @ XYZ_D50_TO_SRGB.T
    linear = linear.clip(0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(encoded * 255.0)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read(data: bytes) -> NDArray[np.int64]:
    return read_photo(data, 1, 10_000_000).astype(np.int64)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_adobe_rgb_becomes_srgb(kind: str) -> None:
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    found = read(saved(Image.fromarray(PATCHES), kind, icc_profile=ADOBE, **options))
    expected = srgb_of_adobe(PATCHES)
    assert np.abs(found - expected).max() <= 2
    assert np.abs(expected - PATCHES).max() > 20  # what an ignored profile is off by


def test_adobe_rgb_in_a_camera_s_jpeg_that_lies_on_its_side() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(PATCHES)
    found = read(saved(stored, "JPEG", quality=100, subsampling=0, exif=exif, icc_profile=ADOBE))
    inner = np.rot90(np.abs(found - np.rot90(srgb_of_adobe(PATCHES), -1)), 1)[3::8, 3::8]
    assert inner.max() <= 4


def test_a_profile_of_srgb_changes_no_pixel() -> None:
    for profile in (SRGB, None):
        assert np.array_equal(read(saved(Image.fromarray(PATCHES), "PNG", icc_profile=profile)), PATCHES)


def test_transparent_pixels_show_the_white_of_srgb() -> None:
    picture = np.dstack([PATCHES, np.full(PATCHES.shape[:2], 255, np.uint8)])
    picture[:8] = 0
    found = read(saved(Image.fromarray(picture), "PNG", icc_profile=ADOBE))
    assert np.array_equal(found[:8], np.full_like(found[:8], 255))
    assert np.abs(found[8:] - srgb_of_adobe(PATCHES)[8:]).max() <= 2


def test_grey_of_another_curve() -> None:
    grey = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
    darker = matrix_profile(ADOBE_TO_XYZ_D50, 461 / 256, b"GRAY")
    found = read(saved(Image.fromarray(grey), "PNG", icc_profile=darker))
    value = (grey / 255.0) ** (461 / 256)
    expected = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055) * 255.0
    assert np.abs(found - expected[..., None]).max() <= 2


@pytest.mark.parametrize("profile", [b"no profile", ADOBE[:200], matrix_profile(ADOBE_TO_XYZ_D50, 1.0, b"GRAY")])
def test_a_profile_that_does_not_fit_is_ignored_and_told(profile: bytes, caplog: pytest.LogCaptureFixture) -> None:
    found = read(saved(Image.fromarray(PATCHES), "PNG", icc_profile=profile))
    assert np.array_equal(found, PATCHES)
    assert "taken for sRGB" in caplog.text
