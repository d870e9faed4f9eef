import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.errors import BadInput
from components.upscale.picture import check_output, check_size, read_picture, write_picture

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held turned: rotate by 90 degrees clockwise to see it upright
    image.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_picture(tmp_path / "turned.png", 100).pixels, np.rot90(PIXELS, -1))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".tiff"])
def test_lossless_formats_keep_pixels(tmp_path: Path, suffix: str) -> None:
    write_picture(tmp_path / f"a{suffix}", PIXELS)
    assert np.array_equal(read_picture(tmp_path / f"a{suffix}", 100).pixels, PIXELS)


def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(BadInput, match=r"text\.jpg cannot be used: unreadable"):
        read_picture(tmp_path / "text.jpg", 100)
    with pytest.raises(BadInput, match=r"absent\.jpg cannot be used: .*No such file"):
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


def test_what_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    folder = tmp_path / "folder.png"
    folder.mkdir()
    with pytest.raises(BadInput, match="is a folder: name a file in it"):
        check_output(folder, force=True)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BadInput, match="cannot be written: Not a directory; choose another --output"):
        check_output(tmp_path / "file" / "a.png", force=False)
    for length in (250, 400):  # 250 bytes are a name, but what is unfinished has a longer one
        with pytest.raises(BadInput, match="File name too long; choose another --output"):
            check_output(tmp_path / ("a" * length + ".png"), force=False)
    with pytest.raises(BadInput, match="cannot be written"):
        check_output(Path("/proc/a.png"), force=False)  # takes no files, not even root's
    check_output(tmp_path / "new" / "deep" / "a.png", force=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


def test_a_full_disk_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BadInput, match="No space left on device; make room on that disk"):
        write_picture(tmp_path / "a.png", PIXELS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("suffix", "most"), [(".jpg", 65500), (".JPEG", 65500), (".webp", 16383)])
def test_sizes_that_a_format_does_not_hold(tmp_path: Path, suffix: str, most: int) -> None:
    check_size(tmp_path / f"a{suffix}", most, 1)
    write_picture(tmp_path / f"a{suffix}", np.zeros((1, most, 3), np.uint8))
    with pytest.raises(BadInput, match=f"at most {most} px a side: name a .png or .tif"):
        check_size(tmp_path / f"a{suffix}", 1, most + 1)
    check_size(tmp_path / "a.png", 70000, 70000)
