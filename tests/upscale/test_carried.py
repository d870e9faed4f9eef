"""What a photo's file says beside its pixels is in the restored picture's file."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from components.photos.decoder import Answer
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.photos.unusable import UnusablePhotoError
from components.upscale.carried import FUNCTION, MOST_BYTES, Carried, coloured, read_carried
from components.upscale.encode import encoded
from tests.upscale.pictures import IPTC, XMP, app13, camera_exif, file_of, noise


@pytest.fixture(scope="module")
def reader() -> Iterator[PhotoReader]:
    with PhotoReader(Limits.of(10_000), 1, (FUNCTION,)) as pool:
        yield pool


def reopened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def through(reader: PhotoReader, content: bytes, suffix: str) -> Image.Image:
    """A photo's file, enlarged twice by repetition, as a file of another format."""
    photo = read_carried(reader, content, "photo")
    large = photo.pixels.repeat(2, axis=0).repeat(2, axis=1)
    return reopened(encoded(large, suffix, photo))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_what_a_camera_wrote_is_kept(reader: PhotoReader, suffix: str) -> None:
    content = file_of(
        noise(4, 6), "JPEG", exif=camera_exif(orientation=6), xmp=XMP, dpi=(300, 300), extra=app13(), quality=95
    )
    image = through(reader, content, suffix)
    assert image.size == (8, 12)  # upright
    exif = image.getexif()
    assert exif[ExifTags.Base.Make] == "Maker"
    assert exif.get(ExifTags.Base.Orientation, 1) == 1
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    assert ExifTags.Base.ExifImageWidth not in inner  # of another picture
    if suffix != ".tif":  # libtiff takes no directories in it
        assert float(inner[ExifTags.Base.ExposureTime]) == pytest.approx(1 / 60)
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or image.getexif()[700]
    assert (xmp if isinstance(xmp, bytes) else xmp.encode()) == XMP
    if suffix != ".webp":  # which has no place for it
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    if suffix == ".jpg":
        assert image.info["photoshop"][0x0404] == IPTC
    if suffix == ".tif":
        assert image.getexif()[33723] == IPTC


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_transparency_stays(reader: PhotoReader, suffix: str) -> None:
    pixels = noise(8, 8, 4)
    pixels[..., 3] = 255
    pixels[:, :4, 3] = 0
    image = through(reader, file_of(pixels, "PNG"), suffix)
    assert image.mode == "RGBA"
    alpha = np.asarray(image)[..., 3]
    assert (alpha[:, :4] == 0).all()
    assert (alpha[:, 12:] == 255).all()
    assert np.array_equal(np.asarray(image)[:, 8:, :3], pixels[:, 4:, :3].repeat(2, axis=0).repeat(2, axis=1))


def test_a_jpeg_shows_what_was_transparent_on_white(reader: PhotoReader) -> None:
    pixels = noise(8, 8, 4)
    pixels[..., 3] = 0
    image = through(reader, file_of(pixels, "PNG"), ".jpg")
    assert image.mode == "RGB"
    assert (np.asarray(image) == 255).all()


def test_what_is_transparent_has_the_colours_around_it() -> None:
    """Its own are often black, and would be restored into the edge."""
    picture = np.zeros((32, 32, 4), np.uint8)
    picture[:, 16:] = (200, 100, 50, 255)
    filled = coloured(picture)
    assert np.abs(filled[:, 8:16, :3].astype(int) - (200, 100, 50)).max() <= 1
    assert np.array_equal(filled[..., 3], picture[..., 3])
    assert np.array_equal(filled[:, 16:], picture[:, 16:])


@pytest.mark.parametrize(
    ("pixels", "kind", "mode", "was"),
    [
        (noise(4, 4, 1), "PNG", "L", ""),
        (noise(4, 4, 1).astype(np.uint16) * 257, "PNG", "I;16", "16 bits"),
        (Image.fromarray(noise(4, 4)).convert("CMYK"), "TIFF", "RGB", "CMYK"),
        (Image.fromarray(noise(4, 4)).convert("P"), "GIF", "RGB", "a palette"),
        (Image.fromarray(noise(4, 4, 2), "LA"), "PNG", "LA", ""),
        (noise(4, 4), "PNG", "RGB", ""),
    ],
)
def test_grey_stays_grey_and_what_is_changed_is_told(
    reader: PhotoReader, pixels: Any, kind: str, mode: str, was: str
) -> None:
    content = file_of(pixels, kind)
    assert read_carried(reader, content, "photo").was == was
    assert through(reader, content, ".png").mode == mode


def test_16_bits_of_colour_are_told(reader: PhotoReader) -> None:
    import cv2  # noqa: PLC0415
    import tifffile  # noqa: PLC0415

    pixels = noise(4, 4).astype(np.uint16) * 257
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, photometric="rgb")
    for content in (cv2.imencode(".png", pixels)[1].tobytes(), buffer.getvalue()):
        assert read_carried(reader, content, "photo").was == "16 bits"


def test_a_photo_with_a_colour_profile_gets_that_of_srgb(reader: PhotoReader) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    first = through(reader, file_of(noise(4, 4), "PNG", icc_profile=profile), ".png").info["icc_profile"]
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(first)))
    assert "icc_profile" not in through(reader, file_of(noise(4, 4), "PNG"), ".png").info


def test_metadata_too_large_for_a_format_are_left_out_and_the_rest_stays(reader: PhotoReader) -> None:
    large = b"<x>" + b" " * 100_000 + b"</x>"
    content = file_of(noise(4, 4), "WEBP", xmp=large, exif=camera_exif(), lossless=True)
    image = through(reader, content, ".jpg")
    assert "xmp" not in image.info
    assert image.getexif()[ExifTags.Base.Make] == "Maker"
    assert through(reader, content, ".webp").info["xmp"] == large
    content = file_of(noise(4, 4), "WEBP", xmp=large * 6, exif=camera_exif(), lossless=True)
    assert len(large * 6) > MOST_BYTES
    image = through(reader, content, ".webp")
    assert "xmp" not in image.info
    assert image.getexif()[ExifTags.Base.Make] == "Maker"


def test_a_damaged_exif_costs_itself_alone(reader: PhotoReader) -> None:
    content = file_of(noise(4, 4), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert read_carried(reader, content, "photo").exif == b""


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"exif": "?", "xmp": "", "iptc": "", "dpi": None, "was": "", "grey": False, "profiled": False},
        {"exif": "", "xmp": "", "iptc": "", "dpi": [1], "was": "", "grey": False, "profiled": False},
    ],
)
def test_a_decoder_that_was_taken_over_says_nothing_else(values: dict[str, Any]) -> None:
    class Lying:
        def call(self, *_: Any) -> Answer:
            return Answer(values, np.zeros((2, 2, 3), np.uint8))

    with pytest.raises(UnusablePhotoError, match="hostile"):
        read_carried(Lying(), b"x", "photo")  # type: ignore[arg-type]


def test_the_same_picture_is_the_same_file() -> None:
    photo = Carried(noise(4, 4), profiled=True, dpi=(300.0, 300.0))
    assert encoded(photo.pixels, ".png", photo) == encoded(photo.pixels, ".png", photo)
