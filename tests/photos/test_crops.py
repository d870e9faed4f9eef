"""Crops: textured first, some smooth, never overlapping."""

import numpy as np
import pytest

from components.photos.crops import choose_crops, texture


def test_texture_of_a_checkerboard_is_four_neighbours_of_difference() -> None:
    board = ((np.indices((16, 16)).sum(axis=0) % 2) * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    assert texture(board) == pytest.approx(4 * 255)


def test_texture_of_a_linear_ramp_is_zero() -> None:
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    assert texture(ramp) == 0.0


def _photo_with_noise(amplitudes: list[list[int]], side: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    rows = [np.hstack([128 + rng.integers(-a, a + 1, (side, side)) for a in row]) for row in amplitudes]
    return np.vstack(rows).astype(np.uint8)[..., None].repeat(3, axis=2)


def test_most_textured_cells_and_a_middle_one_of_the_smoother() -> None:
    photo = _photo_with_noise([[90, 2, 60], [30, 80, 10]], 32)
    # textured: 90, 80, 60; of the smoother 30, 10, 2 the one in the middle
    assert choose_crops(photo, 32, 4) == [(0, 0), (64, 0), (32, 32), (64, 32)]


def test_a_single_crop_is_the_most_textured() -> None:
    assert choose_crops(_photo_with_noise([[1, 2, 60], [30, 80, 10]], 32), 32, 1) == [(32, 32)]


def test_the_grid_is_centred_and_does_not_overlap() -> None:
    photo = np.random.default_rng(1).integers(0, 256, (75, 110, 3), dtype=np.uint8)
    crops = choose_crops(photo, 32, 99)
    # 110 = 3 · 32 + 14, 75 = 2 · 32 + 11
    assert crops == [(7 + 32 * i, 5 + 32 * j) for j in range(2) for i in range(3)]


def test_a_photo_smaller_than_a_crop_gives_none() -> None:
    assert choose_crops(np.zeros((31, 200, 3), dtype=np.uint8), 32, 4) == []


def test_equal_cells_stay_in_reading_order() -> None:
    assert choose_crops(np.zeros((64, 64, 3), dtype=np.uint8), 32, 1) == [(0, 0)]
