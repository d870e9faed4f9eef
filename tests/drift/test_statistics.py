"""Statistics of pictures whose faults are known."""

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from components.drift.statistics import blockiness, noise, sharpness


@pytest.fixture(scope="module")
def scene() -> NDArray[np.uint8]:
    generator = np.random.default_rng(0)
    small = generator.integers(40, 216, (16, 16, 3), np.uint8)
    return cv2.resize(small, (128, 128), interpolation=cv2.INTER_CUBIC)


def with_noise(picture: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    grey = np.random.default_rng(1).normal(0, sigma, picture.shape[:2])
    return np.rint((picture + grey[:, :, None]).clip(0, 255)).astype(np.uint8)


def jpeg(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(io.BytesIO(buffer.getvalue())))


@pytest.mark.parametrize("sigma", [4.0, 8.0, 16.0])
def test_noise_is_its_standard_deviation(scene: NDArray[np.uint8], sigma: float) -> None:
    assert noise(with_noise(scene, sigma)) == pytest.approx(sigma, rel=0.1)


def test_noise_by_hand() -> None:
    # Every 2 x 2 block is (a b / c d) = (10 0 / 0 2): the coefficient is (10 + 2)/2 = 6; 6/.674490 = 8.8956
    block = np.tile(np.array([[10, 0], [0, 2]], np.uint8), (8, 8))
    assert noise(np.repeat(block[:, :, None], 3, axis=2)) == pytest.approx(8.8956, abs=1e-3)


def test_blur_lowers_sharpness(scene: NDArray[np.uint8]) -> None:
    blurred = [sharpness(cv2.GaussianBlur(scene, (0, 0), sigma)) for sigma in (0.5, 1.0, 2.0, 4.0)]
    assert blurred == sorted(blurred, reverse=True)
    assert sharpness(scene) > blurred[0]


def test_sharpness_by_hand() -> None:
    # One pixel of 9 among zeros: inside the border its Laplacian is -36, of its four neighbours 9, else 0: over the 6
    # x 6 inner pixels the mean is 0 and the variance (36² + 4 · 9²)/36 = 45.
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[4, 4] = 9
    assert sharpness(picture) == pytest.approx(np.log10(46.0))


@pytest.mark.parametrize("offset", [0, 3])
def test_blockiness_grows_as_quality_falls_whatever_the_grids_phase(scene: NDArray[np.uint8], offset: int) -> None:
    noisy = with_noise(scene, 6.0)
    found = [blockiness(jpeg(noisy, quality)[offset:, offset:]) for quality in (95, 50, 20, 5)]
    assert found == sorted(found)
    assert found[-1] > blockiness(noisy) + 1.0


def test_flat_and_tiny_pictures_have_numbers() -> None:
    for side in (4, 8, 32):
        flat = np.full((side, side, 3), 77, np.uint8)
        assert (sharpness(flat), noise(flat), blockiness(flat)) == (0.0, 0.0, 0.0)
