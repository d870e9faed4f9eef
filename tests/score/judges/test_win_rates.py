"""Win rates by hand."""

import numpy as np
import pytest

from components.score.judges.questions import FIRST, OVERALL, SECOND, TIE
from components.score.judges.win_rates import combined, win_rates


def test_by_hand() -> None:
    """0 beats 1 in both orders; 1 and 2 win once each; 2 and 0 tie, and once nobody can be read; 3 met nobody."""
    told = [(0, 1, FIRST), (1, 0, SECOND), (1, 2, FIRST), (2, 1, FIRST), (2, 0, TIE), (0, 2, None)]
    assert win_rates(4, told).tolist() == [0.75, 0.25, 0.5, 0.5]


def test_the_published_shares() -> None:
    rates = {"a": np.array([1.0, 0.0]), "b": np.array([0.5, 0.5]), OVERALL: np.array([0.0, 1.0])}
    assert combined(rates) == pytest.approx([0.7 * 0.75, 0.7 * 0.25 + 0.3])


def test_position_bias_cancels() -> None:
    """Who always names the first image says nothing."""
    told = [(one, other, FIRST) for one in range(4) for other in range(4) if one != other]
    assert win_rates(4, told).tolist() == [0.5] * 4
