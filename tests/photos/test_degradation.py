"""The degradation is reproducible, keeps its ranges, and adds the noise it says."""

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from components.photos.degradation import crop_generator, degrade, draw_kernel
from components.settings.degradation import KERNEL_NAMES, DegradationSettings

CLEAN: dict[str, Any] = {
    "sinc_probability": 0.0,
    "kernel_probabilities": (1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "blur_sigma": (0.05, 0.05),
    "resize_probabilities": (0.0, 0.0, 1.0),
    "gaussian_probability": 1.0,
    "gaussian_sigma": (0.0, 0.0),
    "jpeg_quality": (100, 100),
}
"""Every step reduced to nothing: no blur, no resize, no noise, almost no JPEG."""


def _photo(side: int = 64, seed: int = 5) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def _grey(value: int, side: int = 128) -> NDArray[np.uint8]:
    return np.full((side, side, 3), value, dtype=np.uint8)


def test_same_crop_same_lr() -> None:
    first, drawn = degrade(_photo(), crop_generator(0, "ab", 128, 0), DegradationSettings(), 4)
    second, drawn_again = degrade(_photo(), crop_generator(0, "ab", 128, 0), DegradationSettings(), 4)
    np.testing.assert_array_equal(first, second)
    assert drawn == drawn_again
    assert first.shape == (16, 16, 3)
    assert first.dtype == np.uint8


@pytest.mark.parametrize("other", [(1, "ab", 128, 0), (0, "ac", 128, 0), (0, "ab", 0, 0), (0, "ab", 128, 128)])
def test_seed_photo_and_position_each_change_the_draws(other: tuple[int, str, int, int]) -> None:
    _, here = degrade(_photo(), crop_generator(0, "ab", 128, 0), DegradationSettings(), 4)
    _, there = degrade(_photo(), crop_generator(*other), DegradationSettings(), 4)
    assert here != there


def test_position_digits_do_not_run_together() -> None:
    assert crop_generator(0, "a", 1, 23).random() != crop_generator(0, "a", 12, 3).random()


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    first, _ = degrade(_photo(), crop_generator(0, "a", 0, 0), DegradationSettings(), 4)
    np.testing.assert_array_equal(before, np.random.get_state()[1])
    np.random.seed(2)
    second, _ = degrade(_photo(), crop_generator(0, "a", 0, 0), DegradationSettings(), 4)
    np.testing.assert_array_equal(first, second)


def test_no_degradation_at_scale_one_is_the_identity_up_to_jpeg_rounding() -> None:
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 64, axis=0).repeat(3, axis=2)
    lr, _ = degrade(ramp, np.random.default_rng(0), DegradationSettings(**CLEAN), 1)
    assert np.abs(lr.astype(int) - ramp).max() <= 1


def test_brightness_survives_blur_and_resize() -> None:
    ranges = DegradationSettings(gaussian_probability=1.0, gaussian_sigma=(0.0, 0.0))
    for seed in range(20):
        lr, _ = degrade(_grey(100, 64), np.random.default_rng(seed), ranges, 4)
        assert np.abs(lr.astype(int) - 100).max() <= 2


def test_grey_gaussian_noise_has_its_sigma_and_no_colour() -> None:
    ranges = DegradationSettings(**CLEAN | {"gaussian_sigma": (10.0, 10.0), "grey_noise_probability": 1.0})
    lr, drawn = degrade(_grey(128), np.random.default_rng(0), ranges, 1)
    assert drawn["noise"] == {"kind": "gaussian", "grey": True, "sigma": 10.0}
    assert lr[..., 0].std() == pytest.approx(10.0, rel=0.03)  # 16,384 samples: ± 0.6 %
    assert np.abs(lr[..., 0].astype(int) - lr[..., 2]).max() <= 2


def test_colour_gaussian_noise_is_independent_in_the_channels() -> None:
    ranges = DegradationSettings(**CLEAN | {"gaussian_sigma": (10.0, 10.0), "grey_noise_probability": 0.0})
    lr, _ = degrade(_grey(128), np.random.default_rng(0), ranges, 1)
    luma = lr @ np.array([0.299, 0.587, 0.114])  # JPEG halves the resolution of colour, not of luma
    assert luma.std() == pytest.approx(10 * np.sqrt(0.299**2 + 0.587**2 + 0.114**2), rel=0.05)


def test_poisson_noise_grows_with_the_root_of_the_signal() -> None:
    levels = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 256, axis=1).repeat(3, axis=2)
    ranges = DegradationSettings(
        **CLEAN | {"gaussian_probability": 0.0, "poisson_scale": (1.0, 1.0), "grey_noise_probability": 1.0}
    )
    lr, drawn = degrade(levels, np.random.default_rng(0), ranges, 1)
    assert drawn["noise"]["kind"] == "poisson"
    noise = lr[..., 1].astype(float) - levels[..., 1]
    # 256 grey levels are in use, so white is 256 photons and the noise at v has a variance of about v
    assert noise[40:60].std() == pytest.approx(np.sqrt(49.5), rel=0.06)
    assert noise[150:170].std() == pytest.approx(np.sqrt(159.5), rel=0.06)


@pytest.mark.parametrize("position", range(len(KERNEL_NAMES)))
def test_a_certain_kernel_is_drawn(position: int) -> None:
    probabilities = tuple(float(i == position) for i in range(len(KERNEL_NAMES)))
    ranges = DegradationSettings(sinc_probability=0.0, kernel_probabilities=probabilities)
    for seed in range(10):
        kernel, drawn = draw_kernel(np.random.default_rng(seed), ranges)
        assert drawn["kernel"] == KERNEL_NAMES[position]
        assert kernel.shape == (drawn["size"], drawn["size"])
        assert 0.2 <= drawn["sigma_x"] <= 3.0
        if "aniso" not in drawn["kernel"]:
            assert drawn["sigma_x"] == drawn["sigma_y"]


def test_a_certain_sinc_is_drawn_within_its_cutoffs() -> None:
    for seed in range(20):
        _, drawn = draw_kernel(np.random.default_rng(seed), DegradationSettings(sinc_probability=1.0))
        lowest = np.pi / 3 if drawn["size"] < 13 else np.pi / 5
        assert lowest <= drawn["cutoff"] <= np.pi


def test_what_was_drawn_is_json_and_within_the_ranges() -> None:
    ranges = DegradationSettings(resize_factor=(0.5, 1.2), gaussian_sigma=(2.0, 5.0), jpeg_quality=(60, 62))
    qualities = set()
    for seed in range(40):
        _, drawn = degrade(_photo(), np.random.default_rng(seed), ranges, 4)
        assert json.loads(json.dumps(drawn)) == drawn
        assert 0.5 <= drawn["resize"]["factor"] <= 1.2
        if drawn["noise"]["kind"] == "gaussian":
            assert 2.0 <= drawn["noise"]["sigma"] <= 5.0
        qualities.add(drawn["jpeg_quality"])
    assert qualities == {60, 61, 62}  # both ends are possible


def test_a_crop_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="66×66 does not divide by scale 4"):
        degrade(_photo(66), np.random.default_rng(0), DegradationSettings(), 4)


def test_a_float_crop_is_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        degrade(_photo().astype(np.float32), np.random.default_rng(0), DegradationSettings(), 4)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"resize_probabilities": (0.5, 0.4, 0.2)}, "resize_probabilities sum to 1.1"),
        ({"kernel_probabilities": (0.5, 0.5)}, "2 given"),
        ({"kernel_sizes": (7, 8)}, "odd"),
        ({"blur_sigma": (3.0, 0.2)}, "low ≤ high"),
        ({"jpeg_quality": (0, 95)}, "jpeg_quality"),
        ({"resize_factor": (0.5, 0.9)}, "resize_factor"),
        ({"blur": 1}, "Extra inputs"),
    ],
)
def test_impossible_ranges_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DegradationSettings(**values)
