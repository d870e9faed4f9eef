import itertools
import math

import pytest
import torch

from components.errors import BadInput
from components.upscale.tiles import Span, blend_weights, spans


def test_short_axis_is_one_span() -> None:
    assert spans(256, 256, 32) == [Span(0, 256)]
    assert spans(1, 256, 32) == [Span(0, 1)]


def test_spans_by_hand() -> None:
    # tile 64, overlap 16, step 48; 150 - 64 = 86, rounded up to the grid: 88
    assert spans(150, 64, 16) == [Span(0, 64), Span(48, 112), Span(88, 150)]


@pytest.mark.parametrize("length", [65, 72, 100, 112, 113, 257, 1000])
def test_spans_cover_overlap_and_lie_on_the_grid(length: int) -> None:
    parts = spans(length, 64, 16)
    assert parts[0].start == 0
    assert parts[-1].stop == length
    for before, after in itertools.pairwise(parts):
        assert before.stop - after.start >= 16
        assert before.start < after.start
    assert all(part.start % 8 == 0 and part.stop - part.start <= 64 for part in parts)


@pytest.mark.parametrize("length", [40, 150, 257, 1000])
def test_weights_sum_to_one_everywhere(length: int) -> None:
    parts = spans(length, 64, 16)
    total = torch.zeros(length)
    for part, weight in zip(parts, blend_weights(parts, 16), strict=True):
        assert weight.min() > 0
        total[part.start : part.stop] += weight
    torch.testing.assert_close(total, torch.ones(length))


def test_single_span_weighs_exactly_one() -> None:
    assert torch.equal(blend_weights([Span(0, 50)], 16)[0], torch.ones(50))


def test_ramp_is_sine_squared() -> None:
    first, second = blend_weights([Span(0, 8), Span(4, 12)], 4)
    # rising sin^2 + falling sin^2 = sin^2 + cos^2 = 1: no normalisation happens here
    wanted = [math.sin((i + 0.5) / 4 * math.pi / 2) ** 2 for i in range(4)]
    torch.testing.assert_close(second[:4], torch.tensor(wanted))
    torch.testing.assert_close(first[4:], torch.tensor(wanted[::-1]))


@pytest.mark.parametrize(("tile", "overlap"), [(60, 16), (64, 12), (64, 0), (64, 40)])
def test_impossible_tiling_is_refused(tile: int, overlap: int) -> None:
    with pytest.raises(BadInput, match=f"tile {tile} with overlap {overlap}"):
        spans(100, tile, overlap)
