"""Guards on pictures whose faults are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from components.judge.guards import border, clipping, colour_shift, deviation_map, diversity, grid, measure_guards

Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def lr() -> Picture:
    generator = np.random.default_rng(0)
    rows, columns = np.indices((32, 32)) / 32
    return np.rint(
        80 + 60 * np.stack([rows, columns, rows * columns], -1) + generator.normal(0, 3, (32, 32, 3))
    ).astype(np.uint8)


@pytest.fixture(scope="module")
def restored(lr: Picture) -> Picture:
    """The LR enlarged four times, with detail that averages to nothing."""
    detail = np.random.default_rng(1).normal(0, 6, (128, 128, 3))
    detail -= detail.reshape(32, 4, 32, 4, 3).mean((1, 3)).repeat(4, 0).repeat(4, 1)
    return np.rint(lr.repeat(4, 0).repeat(4, 1) + detail).astype(np.uint8)


def test_a_faithful_restoration_has_none_of_the_faults(lr: Picture, restored: Picture) -> None:
    found = measure_guards(restored, lr)
    assert found["colour_shift"] < 0.1
    assert found["border"] == pytest.approx(0.0, abs=0.1)
    assert found["clipping"] == 0.0


def test_colour_shift_is_the_cie_lab_distance(lr: Picture) -> None:
    grey = np.full((32, 32, 3), 119, np.uint8)
    assert colour_shift(grey, grey) == 0.0
    # sRGB 119 has L* = 50.0344 and 122 has L* = 51.2231 (CIE 1976, D65).
    assert colour_shift(np.full((128, 128, 3), 122, np.uint8), grey) == pytest.approx(51.2231 - 50.0344, abs=2e-3)


def test_shifts_that_cancel_over_the_picture_are_seen(lr: Picture, restored: Picture) -> None:
    warm = restored.astype(int)
    warm[:64] += [8, 0, -8]
    warm[64:] -= [8, 0, -8]
    assert colour_shift(warm.astype(np.uint8), lr) > 4.0


@pytest.mark.parametrize("period", [2, 3, 4, 8])
def test_a_grid_is_a_peak_whatever_its_period(lr: Picture, restored: Picture, period: int) -> None:
    rows, columns = np.indices(restored.shape[:2])
    lines = 8 * ((rows % period == 0) | (columns % period == 0)).astype(np.uint8)
    assert grid(restored + lines[..., None], lr) > grid(restored, lr) + 5.0


def test_a_flat_picture_has_no_grid(lr: Picture) -> None:
    assert grid(np.full((128, 128, 3), 90, np.uint8), lr) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
def test_damage_at_one_side_is_seen(lr: Picture, side: str) -> None:
    damaged = lr.repeat(4, 0).repeat(4, 1).copy()
    strip = {"top": np.s_[:16], "bottom": np.s_[-16:], "left": np.s_[:, :16], "right": np.s_[:, -16:]}[side]
    damaged[strip] += 10
    # That side is off by 10; the inside is exact. The two sides that it meets are off in a part of theirs.
    assert border(damaged, lr) == pytest.approx(10.0)


def test_clipping_counts_what_the_lr_has_not_clipped() -> None:
    lr = np.full((32, 32, 3), 100, np.uint8)
    lr[:8] = 255  # a quarter
    restored = lr.repeat(4, 0).repeat(4, 1)
    assert clipping(restored, lr) == 0.0
    restored[64:] = 0  # half
    assert clipping(restored, lr) == pytest.approx(50.0)


def test_diversity_is_the_deviation_over_seeds() -> None:
    low, high = np.full((4, 4, 3), 100, np.uint8), np.full((4, 4, 3), 106, np.uint8)
    assert diversity([low, high]) == pytest.approx(3.0)
    assert diversity([low, low]) == 0.0
    assert np.isnan(diversity([low]))


def test_the_map_of_deviations_is_bright_where_seeds_differ_and_its_mean_is_the_diversity() -> None:
    one = np.full((8, 8, 3), 100, np.uint8)
    other = one.copy()
    other[2, 3] = (106, 100, 112)
    found = deviation_map([one, other])
    assert found[2, 3] == pytest.approx((3 + 0 + 6) / 3)
    assert np.count_nonzero(found) == 1
    assert found.mean() == pytest.approx(diversity([one, other]))


def test_sides_that_no_cell_divides_are_taken(lr: Picture) -> None:
    odd = np.random.default_rng(0).integers(0, 255, (30, 42, 3), np.uint8)
    assert all(np.isfinite(value) for value in measure_guards(odd.repeat(4, 0).repeat(4, 1), odd).values())
