from itertools import combinations

import numpy as np
import pytest

from components.evaluate.spread import Spread, expected_best, expected_worst, spreads


@pytest.mark.parametrize("samples", range(1, 8))
def test_equals_the_mean_over_all_subsets(samples: int) -> None:
    values = np.random.default_rng(samples).normal(size=7)
    values[3] = values[5]  # ties are values like any other
    subsets = list(combinations(values, samples))
    assert expected_best(values, samples) == pytest.approx(np.mean([max(subset) for subset in subsets]), abs=1e-12)
    assert expected_worst(values, samples) == pytest.approx(np.mean([min(subset) for subset in subsets]), abs=1e-12)


def test_by_hand() -> None:
    # Pairs of {1, 2, 4}: maxima 2, 4, 4; minima 1, 1, 2.
    values = np.array([4.0, 1.0, 2.0])
    assert expected_best(values, 2) == pytest.approx(10 / 3)
    assert expected_worst(values, 2) == pytest.approx(4 / 3)


def test_sizes_are_powers_of_two_and_the_whole_of_the_smallest_group() -> None:
    result = spreads([np.arange(6.0), np.arange(7.0)])
    assert [spread.samples for spread in result] == [1, 2, 4, 6]
    assert result[0] == Spread(1, pytest.approx(2.75), 2.75, pytest.approx(2.75))
    best, worst = [spread.best for spread in result], [spread.worst for spread in result]
    assert best == sorted(best)
    assert worst == sorted(worst, reverse=True)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot take 3 of 2"):
        expected_best(np.zeros(2), 3)
    with pytest.raises(ValueError, match="at least one value"):
        spreads([np.zeros(2), np.zeros(0)])
    with pytest.raises(ValueError, match="at least one value"):
        spreads([])
