"""One object's bytes, without any server."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from components.artifacts.shards import decode_png
from components.intake.examine import CLEAN, check_entry, examine, polyglot_kind
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.photos.unusable import UnusablePhotoError
from tests.services.s3 import hostile, picture, polyglot


@pytest.fixture(scope="module")
def reader() -> Iterator[PhotoReader]:
    with PhotoReader(Limits(16_000_000, 1_000_000, 30.0), 1, (CLEAN,)) as reader:
        yield reader


@pytest.mark.parametrize("key", sorted(hostile()))
def test_every_hostile_object_has_its_reason(key: str, reader: PhotoReader) -> None:
    data, reason = hostile()[key]

    def judged() -> None:
        check_entry(key, len(data), 200_000)
        examine(reader, data, key, 8)

    with pytest.raises(UnusablePhotoError) as caught:
        judged()
    assert caught.value.reason == reason


def test_what_is_kept_is_pixels_alone(reader: PhotoReader) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a street and a name"
    data = picture(1, kind="JPEG", exif=exif)
    assert b"a street" in data
    taken = examine(reader, data, "", 8)
    assert b"a street" not in taken.png
    assert np.array_equal(decode_png(taken.png), np.array(Image.open(io.BytesIO(data))))
    assert examine(reader, taken.png, "", 8) == taken


def test_the_same_pixels_in_another_format_are_the_same_picture(reader: PhotoReader) -> None:
    webp = picture(1, kind="WEBP", lossless=True)
    assert examine(reader, picture(1), "", 8) == examine(reader, webp, "", 8)


def test_a_film_behind_a_photo_is_no_polyglot_kind_and_an_archive_is() -> None:
    assert polyglot_kind(picture(1, kind="JPEG") + b"\x00\x00\x00\x18ftypmp42" + bytes(500)) == ""
    assert polyglot_kind(polyglot()) == "a ZIP archive"
    assert polyglot_kind(b"%PDF-1.7" + picture(1)) == "a PDF"


def test_a_name_without_a_suffix_or_with_another_pictures_is_fine() -> None:
    for key in ("photo", "a/b/photo.JPG", "C:\\photo.webp", ".png"):
        check_entry(key, 10, 100)
    with pytest.raises(UnusablePhotoError, match="no picture's"):
        check_entry("photo.png.exe", 10, 100)
