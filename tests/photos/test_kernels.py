"""Kernels against values worked out by hand."""

import numpy as np
import pytest

from components.photos.kernels import Kernel, generalized_gaussian, plateau, sinc


def test_gaussian_of_three_by_three() -> None:
    # centre 1, edges e^-1/2, corners e^-1; their sum is 4.89764
    kernel = generalized_gaussian(3, 1.0, 1.0, 0.0)
    assert kernel[1, 1] == pytest.approx(1 / 4.89764, abs=1e-6)
    assert kernel[0, 1] == pytest.approx(0.606531 / 4.89764, abs=1e-6)
    assert kernel[0, 0] == pytest.approx(0.367879 / 4.89764, abs=1e-6)


def test_plateau_of_three_by_three() -> None:
    # 1, 1/2 on the edges, 1/3 in the corners: the sum is 13/3
    kernel = plateau(3, 1.0, 1.0, 0.0, 1.0)
    assert kernel[1, 1] == pytest.approx(3 / 13, abs=1e-6)
    assert kernel[2, 1] == pytest.approx(1.5 / 13, abs=1e-6)
    assert kernel[2, 2] == pytest.approx(1 / 13, abs=1e-6)


def test_sinc_of_three_by_three() -> None:
    # before normalising: centre π/4, edges J1(π)/2 with J1(π) = 0.2846153
    kernel = sinc(3, np.pi)
    assert kernel[0, 1] / kernel[1, 1] == pytest.approx((0.2846153 / 2) / (np.pi / 4), abs=1e-5)


def test_generalized_gaussian_raises_the_distance_to_beta() -> None:
    # at distance 2 the squared distance is 4, so β = 2 gives e^(-16/2)
    kernel = generalized_gaussian(5, 1.0, 1.0, 0.0, beta=2.0)
    assert kernel[2, 4] / kernel[2, 2] == pytest.approx(np.exp(-8.0), rel=1e-4)


def test_rotation_by_a_quarter_turn_swaps_the_axes() -> None:
    straight = generalized_gaussian(7, 3.0, 1.0, 0.0)
    assert straight[3, 4] / straight[3, 3] == pytest.approx(np.exp(-0.5 / 9), rel=1e-5)  # along x, σ = 3
    assert straight[4, 3] / straight[3, 3] == pytest.approx(np.exp(-0.5), rel=1e-5)  # along y, σ = 1
    np.testing.assert_allclose(generalized_gaussian(7, 3.0, 1.0, np.pi / 2), straight.T, atol=1e-7)


@pytest.mark.parametrize(
    "kernel",
    [
        generalized_gaussian(21, 0.2, 0.2, 0.0),
        generalized_gaussian(7, 3.0, 0.4, 1.1, beta=0.5),
        generalized_gaussian(13, 2.0, 2.0, 0.0, beta=4.0),
        plateau(21, 2.5, 0.7, -2.0, 2.0),
        sinc(13, np.pi / 5),
        sinc(7, np.pi / 3),
    ],
)
def test_every_kernel_keeps_brightness_and_is_symmetric(kernel: Kernel) -> None:
    assert kernel.dtype == np.float32
    assert float(kernel.sum()) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-7)


def test_a_very_narrow_gaussian_is_the_identity() -> None:
    expected = np.zeros((7, 7), dtype=np.float32)
    expected[3, 3] = 1.0
    np.testing.assert_allclose(generalized_gaussian(7, 0.05, 0.05, 0.0), expected, atol=1e-12)
