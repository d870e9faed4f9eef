from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from components.errors import BadInput
from recipes.photo_crops import LONG_SIDES, draw_crop, read_photos, stream

Image8 = NDArray[np.uint8]


def noisy(height: int, width: int, seed: int = 0) -> Image8:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def halve(hr: Image8, rng: np.random.Generator) -> Image8:
    return (hr[::2, ::2] // 2 + rng.integers(0, 9, (1, 1, 3))).astype(np.uint8)


def test_photos_are_split_by_photo_whatever_their_order(tmp_path: Path) -> None:
    for number in range(30):
        Image.fromarray(noisy(40, 50, number)).save(tmp_path / f"{number:02d}.png")
    training, held_out = read_photos(tmp_path, 0.3)
    assert len(training) + len(held_out) == 30
    assert 3 <= len(held_out) <= 15
    keys = {photo.tobytes() for photo in training}
    assert keys.isdisjoint(photo.tobytes() for photo in held_out)
    (tmp_path / "31.png").write_bytes((tmp_path / "00.png").read_bytes())
    again, _ = read_photos(tmp_path, 0.3)
    assert keys <= {photo.tobytes() for photo in again}  # a photo more moves none of the others


def test_large_photos_are_read_at_each_size(tmp_path: Path) -> None:
    for number in range(10):
        Image.fromarray(noisy(500, 1000, number)).save(tmp_path / f"{number}.png")
    photos, held_out = read_photos(tmp_path, 0.0)
    assert held_out == []
    assert sorted({photo.shape[1] for photo in photos}) == sorted(LONG_SIDES)
    assert {photo.shape[0] * 2 for photo in photos} == set(LONG_SIDES)


def test_too_few_photos(tmp_path: Path) -> None:
    Image.fromarray(noisy(40, 50)).save(tmp_path / "one.png")
    with pytest.raises(BadInput, match=r"1 photos; run `python scripts/fetch_extended\.py` or name another folder"):
        read_photos(tmp_path, 0.1)


def test_crops_are_parts_of_a_photo_in_some_orientation() -> None:
    photo = noisy(9, 12)
    windows = {
        np.ascontiguousarray(flipped).tobytes()
        for top in range(5)
        for left in range(8)
        for turns in range(4)
        for turned in [np.rot90(photo[top : top + 5, left : left + 5], turns)]
        for flipped in (turned, turned[:, ::-1])
    }
    rng = np.random.default_rng(0)
    crops = [draw_crop([noisy(4, 20), photo], 5, rng) for _ in range(50)]
    assert {crop.tobytes() for crop in crops} <= windows
    assert len({crop.tobytes() for crop in crops}) > 30


def test_no_photo_is_large_enough() -> None:
    with pytest.raises(BadInput, match="none of 2 training photos holds a crop of 32 px"):
        draw_crop([noisy(31, 99), noisy(8, 8)], 32, np.random.default_rng(0))


def test_a_stream_can_start_anywhere() -> None:
    photos = [noisy(20, 20, seed) for seed in range(3)]
    whole = list(islice(stream(photos, 8, 2, halve, seed=1), 6))
    late = list(islice(stream(photos, 8, 2, halve, seed=1, start=4), 2))
    for (lr, hr), (late_lr, late_hr) in zip(whole[4:], late, strict=True):
        assert np.array_equal(lr, late_lr)
        assert np.array_equal(hr, late_hr)
    assert whole[0][0].shape == (2, 4, 4, 3)
    assert whole[0][1].shape == (2, 8, 8, 3)
    assert not np.array_equal(whole[0][1], whole[1][1])
    other = next(stream(photos, 8, 2, halve, seed=2))
    assert not np.array_equal(whole[0][1], other[1])


def test_an_error_while_crops_are_made_reaches_the_reader() -> None:
    with pytest.raises(BadInput, match="none of 1 training photos"):
        next(stream([noisy(4, 4)], 8, 2, halve, seed=1))
