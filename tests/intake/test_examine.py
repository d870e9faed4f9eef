"""One object's bytes, without any server."""

import io
import os
import time

import numpy as np
import pytest
from PIL import Image

from components.artifacts.shards import decode_png
from components.intake.examine import check_entry, examine, polyglot_kind
from components.intake.examiner import Examiner
from components.photos.unusable import Reason, UnusablePhotoError
from tests.services.s3 import hostile, picture, polyglot


@pytest.mark.parametrize("key", sorted(hostile()))
def test_every_hostile_object_has_its_reason(key: str) -> None:
    data, reason = hostile()[key]

    def judged() -> None:
        check_entry(key, len(data), 200_000)
        examine(data, 8, 16_000_000)

    with pytest.raises(UnusablePhotoError) as caught:
        judged()
    assert caught.value.reason == reason


def test_what_is_kept_is_pixels_alone() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a street and a name"
    data = picture(1, kind="JPEG", exif=exif)
    assert b"a street" in data
    taken = examine(data, 8, 10_000)
    assert b"a street" not in taken.png
    assert np.array_equal(decode_png(taken.png), np.array(Image.open(io.BytesIO(data))))
    assert examine(taken.png, 8, 10_000) == taken


def test_the_same_pixels_in_another_format_are_the_same_picture() -> None:
    assert examine(picture(1), 8, 10_000) == examine(picture(1, kind="WEBP", lossless=True), 8, 10_000)


def test_a_film_behind_a_photo_is_no_second_nature_and_an_archive_is() -> None:
    assert polyglot_kind(picture(1, kind="JPEG") + b"\x00\x00\x00\x18ftypmp42" + bytes(500)) == ""
    assert polyglot_kind(polyglot()) == "a ZIP archive"
    assert polyglot_kind(b"%PDF-1.7" + picture(1)) == "a PDF"


def test_a_name_without_a_suffix_or_with_another_pictures_is_fine() -> None:
    for key in ("photo", "a/b/photo.JPG", "C:\\photo.webp", ".png"):
        check_entry(key, 10, 100)
    with pytest.raises(UnusablePhotoError, match="no picture's"):
        check_entry("photo.png.exe", 10, 100)


def test_what_kills_or_holds_up_the_decoder_is_set_aside_and_the_next_one_is_read() -> None:
    with Examiner(8, 100_000_000, 60.0) as examiner:
        good = examiner(picture(1))
        child = examiner._child
        assert child is not None
        assert child.pid is not None
        os.kill(child.pid, 19)  # stopped: as if a decoder never ended
        examiner._seconds = 0.5
        started = time.monotonic()
        with pytest.raises(UnusablePhotoError, match="longer than") as caught:
            examiner(picture(2))
        assert caught.value.reason == Reason.HOSTILE
        assert time.monotonic() - started < 10
        examiner._seconds = 60.0
        assert examiner(picture(1)) == good
        child = examiner._child
        assert child is not None
        child.kill()
        child.join()
        with pytest.raises(UnusablePhotoError, match="ended the decoder"):
            examiner(picture(2))
