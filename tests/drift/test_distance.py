"""PSI and KS by hand, and what cannot be told is no "same"."""

import math

import numpy as np
import pytest

from components.drift.distance import bin_edges, compare, fractions, psi
from components.settings.drift import DriftSettings

LIMITS = DriftSettings()


def test_psi_by_hand() -> None:
    # Half an observation in each bin: e = 50.5/101, 50.5/101; f = 75.5/101, 25.5/101.
    # (.747525 - .5) ln 1.495050 + (.252475 - .5) ln .504950 = .247525 (.402160 + .683295) = .268677
    index = psi(np.array([50.0, 50.0]), np.array([75.0, 25.0]))
    assert index == pytest.approx(0.247525 * (math.log(1.495050) + math.log(1 / 0.504950)), abs=1e-5)
    assert index == pytest.approx(0.26868, abs=1e-5)


def test_psi_is_zero_for_the_same_symmetric_and_finite_for_empty_bins() -> None:
    one, other = np.array([10.0, 20.0, 70.0]), np.array([0.0, 50.0, 50.0])
    assert psi(one, one) == 0.0
    assert psi(one, other) == pytest.approx(psi(other, one))
    assert math.isfinite(psi(np.array([100.0, 0.0]), np.array([0.0, 100.0])))


def test_bins_are_equally_full_in_the_training_set() -> None:
    values = np.arange(100.0)
    edges = bin_edges(values, 10)
    assert len(edges) == 9
    assert fractions(values, edges).tolist() == pytest.approx([0.1] * 10)
    assert fractions(np.array([-5.0, 1000.0]), edges).tolist() == [0.5, *[0.0] * 8, 0.5]


def test_ks_by_hand() -> None:
    # Empirical distributions of 0..39 and 20..59 are furthest apart, by 20/40, where the second begins.
    found = compare("x", np.arange(40.0).tolist(), np.arange(20.0, 60.0).tolist(), LIMITS)
    assert found.ks == pytest.approx(0.5)
    # Kolmogorov's asymptotic law gives 2 sum (-1)^(k-1) exp(-2 k² 40·40/80 · .25) = 9.1e-5; the exact one is near it.
    assert found.p == pytest.approx(9.1e-5, rel=0.5)
    assert found.verdict == "drift"


def test_the_same_distribution_is_no_drift_and_a_shifted_one_is() -> None:
    generator = np.random.default_rng(0)
    training_set, same = generator.normal(0, 1, 500).tolist(), generator.normal(0, 1, 200).tolist()
    assert compare("x", training_set, same, LIMITS, 4).verdict == "same"
    assert compare("x", training_set, (np.array(same) + 1).tolist(), LIMITS, 4).verdict == "drift"


def test_chance_is_no_drift_however_large_its_psi() -> None:
    # 30 draws over ten bins: the PSI alone calls most of these drift.
    generator = np.random.default_rng(1)
    found = [
        compare("x", generator.normal(0, 1, 60).tolist(), generator.normal(0, 1, 30).tolist(), LIMITS)
        for _ in range(50)
    ]
    assert sum(row.psi is not None and row.psi >= LIMITS.psi for row in found) > 25
    assert sum(row.verdict == "drift" for row in found) <= 2


def test_a_tiny_shift_is_no_drift_however_certain() -> None:
    training_set = np.random.default_rng(2).normal(0, 1, 20_000)
    found = compare("x", training_set.tolist(), (training_set + 0.1).tolist(), LIMITS)
    assert found.p is not None
    assert found.p < 1e-10
    assert found.verdict == "same"


@pytest.mark.parametrize(
    ("training_set", "new", "verdict", "words"),
    [
        ([], [1.0] * 50, "unknown", "no training set"),
        ([1.0] * 50, [1.0] * 50, "unknown", "1 throughout"),
        ([1.0] * 50, np.arange(50.0).tolist(), "unknown", "throughout"),
        ([0.0] * 50, [0.0] * 50, "unknown", "0 throughout"),
        ([*np.arange(49.0).tolist(), math.nan], np.arange(50.0).tolist(), "unknown", "1 values of the training set"),
        (np.arange(50.0).tolist(), [math.inf] * 50, "unknown", "50 new ones"),
        (np.arange(5.0).tolist(), np.arange(50.0).tolist(), "unknown", "the training set has 5"),
        (np.arange(50.0).tolist(), [1.0] * 3, "too few", "3 new pictures"),
    ],
)
def test_what_cannot_be_told_says_so(training_set: list[float], new: list[float], verdict: str, words: str) -> None:
    found = compare("x", training_set, new, LIMITS)
    assert found.verdict == verdict
    assert words in found.reason
    assert found.psi is None


def test_constant_new_values_differ_from_varied_ones() -> None:
    assert compare("x", np.arange(100.0).tolist(), [50.0] * 50, LIMITS).verdict == "drift"
