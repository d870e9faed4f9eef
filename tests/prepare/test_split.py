"""Split by photo: exact counts, independent of order."""

import pytest

from components.errors import BadInput
from components.prepare.split import split_counts, split_photos

SHARES = {"align": 0.5, "validation": 0.2, "test": 0.3}


def test_counts_are_exact() -> None:
    assert split_counts(10, SHARES) == {"align": 5, "validation": 2, "test": 3}


def test_largest_remainder_takes_the_photo_left_over() -> None:
    # 40.7, 11.1, 22.2: one photo is left for the largest remainder
    assert split_counts(74, {"align": 0.55, "validation": 0.15, "test": 0.30}) == {
        "align": 41,
        "validation": 11,
        "test": 22,
    }


def test_no_split_with_a_share_is_empty() -> None:
    assert split_counts(5, {"align": 0.9, "validation": 0.05, "test": 0.05}) == {"align": 3, "validation": 1, "test": 1}


def test_a_split_without_a_share_stays_empty() -> None:
    assert split_counts(4, {"align": 1.0, "validation": 0.0, "test": 0.0}) == {"align": 4, "validation": 0, "test": 0}


def test_counts_always_add_up() -> None:
    for total in range(3, 60):
        assert sum(split_counts(total, {"align": 0.55, "validation": 0.15, "test": 0.3}).values()) == total


def test_too_few_photos_say_the_way_out() -> None:
    with pytest.raises(BadInput, match=r"2 usable photos cannot fill .* add photos"):
        split_counts(2, SHARES)


def test_order_and_repeats_do_not_matter() -> None:
    photos = [f"{i:064x}" for i in range(20)]
    assert split_photos(photos, SHARES, 0) == split_photos([*reversed(photos), photos[3]], SHARES, 0)


def test_the_seed_matters() -> None:
    photos = [f"{i:064x}" for i in range(20)]
    assert split_photos(photos, SHARES, 0) != split_photos(photos, SHARES, 1)
