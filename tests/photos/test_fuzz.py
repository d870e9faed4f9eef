"""Damaged files have two outcomes: a picture, or a reason, within seconds. CI_ALL=1 tries a hundred times as many.

A failure names kind and seed: `mutated(pictures()[kind], seed)` is the file, or `redirected(…)`.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.photos.unusable import Reason, UnusablePhotoError
from tests.photos.mutations import mutated, pictures, redirected

MUTATIONS = 4_000 if os.environ.get("CI_ALL") else 40
"""A kind of file, of which there are twenty-six."""
PICTURES = pictures()


Damage = Callable[[bytes, int], bytes]


@pytest.fixture(scope="module")
def reader() -> Iterator[PhotoReader]:
    """A picture of these sizes takes milliseconds: one that takes seconds is as bad as one that takes for ever."""
    with PhotoReader(Limits(max_pixels=100_000, max_bytes=1_000_000, seconds=5.0)) as reader:
        yield reader


@pytest.mark.parametrize(
    ("kind", "damage"),
    [*((kind, mutated) for kind in PICTURES), *((kind, redirected) for kind in PICTURES if kind.startswith("tiff"))],
)
def test_damage_gives_a_picture_or_a_reason(
    kind: str, damage: Damage, reader: PhotoReader, record_property: Callable[[str, object], None]
) -> None:
    assert reader.pixels(PICTURES[kind]).shape in ((40, 48, 3), (48, 40, 3))

    def read(seed: int) -> tuple[int, ...]:
        pixels = reader.pixels(damage(PICTURES[kind], seed))
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
        assert 0 < pixels.shape[0] * pixels.shape[1] <= 100_000
        return pixels.shape

    outcomes: Counter[str] = Counter()
    for seed, outcome in reader.each(range(MUTATIONS), read):
        if isinstance(outcome, UnusablePhotoError):
            assert outcome.detail.isprintable(), seed
            # nothing here is an attack: what a decoder dies of, or takes seconds for, is a find to look into
            assert outcome.reason is not Reason.HOSTILE, (seed, outcome.detail)
            outcomes[outcome.reason] += 1
        else:
            outcomes["picture"] += 1
    record_property("outcomes", {str(name): count for name, count in outcomes.items()})  # for xdist: nothing but text
    assert outcomes.total() == MUTATIONS
    assert len(outcomes) > 1  # the damage does damage
