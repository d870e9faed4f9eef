from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.errors import BadInput
from components.upscale.picture import check_output, read_picture, write_picture

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held turned: rotate by 90 degrees clockwise to see it upright
    image.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_picture(tmp_path / "turned.png", 100), np.rot90(PIXELS, -1))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".tiff"])
def test_lossless_formats_keep_pixels(tmp_path: Path, suffix: str) -> None:
    write_picture(tmp_path / f"a{suffix}", PIXELS)
    assert np.array_equal(read_picture(tmp_path / f"a{suffix}", 100), PIXELS)


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(BadInput, match=r"text\.jpg cannot be used: unreadable"):
        read_picture(tmp_path / "text.jpg", 100)
    with pytest.raises(BadInput, match=r"absent\.jpg cannot be read: No such file"):
        read_picture(tmp_path / "absent.jpg", 100)


def test_too_large_names_the_option(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", PIXELS)
    with pytest.raises(BadInput, match="raise --max-pixels"):
        read_picture(tmp_path / "a.png", 23)


def test_output_is_not_overwritten_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    check_output(path, force=False)
    path.touch()
    with pytest.raises(BadInput, match="--force"):
        check_output(path, force=False)
    check_output(path, force=True)


def test_unknown_output_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"'\.xyz'; use one of \.png"):
        check_output(tmp_path / "a.xyz", force=False)
