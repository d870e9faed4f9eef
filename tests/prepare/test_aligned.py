"""Scale by sizes, and shift by phase correlation, on pictures that were moved by so much."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from components.photos.unusable import UnusablePhotoError
from components.prepare.aligned import check_aligned, common, look, scale_of, shift
from components.storage import digests


def landscape(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Hills of many sizes, `[height, width, 3]`: as photos have them, and nothing repeats."""
    generator = np.random.default_rng(seed)
    total = np.zeros((height, width))
    for deviation in (2.0, 4.0, 8.0, 16.0):
        hills = cv2.GaussianBlur(generator.standard_normal((height, width)), (0, 0), deviation)
        total += hills / hills.std()
    grey = (128 + 25 * total).clip(0, 255).astype(np.uint8)
    return np.stack([grey] * 3, axis=-1)


def test_a_look_gives_size_digest_and_luma_of_whole_areas() -> None:
    photo = landscape(50, 63)
    values, luma = look(b"", photo, 4)
    assert values == {"digest": digests.of_pixels(photo), "size": [50, 63]}
    means = photo[:48, :60, 0].reshape(12, 4, 15, 4).mean(axis=(1, 3))
    assert luma.shape == (12, 15)
    assert np.abs(luma - means).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("lr", "hr", "scale"),
    [
        ((30, 20), (120, 80), 4),
        ((30, 20), (123, 80), 4),  # the HR has rows to spare
        ((31, 20), (121, 80), 4),  # the LR was rounded up
        ((30, 20), (60, 40), 2),
        ((30, 20), (30, 20), 1),
        ((30, 20), (31, 20), None),
        ((30, 20), (124, 80), None),
        ((30, 20), (120, 60), None),
        ((120, 80), (30, 20), None),
    ],
)
def test_the_scale_follows_from_sizes(lr: tuple[int, int], hr: tuple[int, int], scale: int | None) -> None:
    assert scale_of(lr, hr) == scale


def test_the_hr_covers_whole_lr_pixels_alone() -> None:
    assert common((31, 20), (121, 83), 4) == (30, 20)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 0), (0, -1), (2, 0), (-3, 2), (5, -7)])
def test_a_shift_is_found(down: int, right: int) -> None:
    large = landscape(96, 112)[..., 0]
    hr, lr = large[8:-8, 8:-8], large[8 - down : 88 - down, 8 - right : 104 - right]
    assert shift(lr, hr)[:2] == pytest.approx((down, right), abs=0.05)
    noisy = (lr + np.random.default_rng(1).normal(0, 8, lr.shape)).clip(0, 255).astype(np.uint8)
    assert shift(noisy, hr)[:2] == pytest.approx((down, right), abs=0.45)
    assert shift(noisy, hr)[2] > 0.9
    if max(abs(down), abs(right)) > 1:
        words = rf"misaligned: .* {abs(right)}\.0 px across and {abs(down)}\.0 px down apart"
        with pytest.raises(UnusablePhotoError, match=words):
            check_aligned(lr, hr)
    else:
        check_aligned(lr, hr)


def test_half_a_pixel_is_no_shift() -> None:
    large = landscape(260, 260)
    low, high = (look(b"", part, 4)[1] for part in (large[2:-2, :-4], large[:-4, 2:-2]))
    check_aligned(low, high)


def test_other_pictures_do_not_show_the_same() -> None:
    with pytest.raises(UnusablePhotoError, match="do not show the same"):
        check_aligned(landscape(80, 80, 0)[..., 0], landscape(80, 80, 1)[..., 0])


def test_flat_pictures_lie_on_each_other() -> None:
    check_aligned(np.full((40, 40), 7, np.uint8), np.full((40, 40), 200, np.uint8))
