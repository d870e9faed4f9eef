"""Intervals, p-values and the smallest detectable effect against data whose effects are known."""

import numpy as np
import pytest

from benchmarks.arena.statistics import POWER, Estimate, estimate, holm, paired
from components.judge.bootstrap import ClusterBootstrap, TwoWay, Values

PHOTOS, SEEDS, RUNS = 22, 5, 600
NAMES = [f"photo{number:02d}" for number in range(PHOTOS)]
BOOTSTRAP = ClusterBootstrap(NAMES, resamples=300, confidence=0.95, seed=0)


def drawn(effect: float, generator: np.random.Generator) -> list[Values]:
    """Differences of SEEDS trainings on PHOTOS photos, as in the demo: deviations .037 of photos, .02 of trainings."""
    photos = generator.normal(0.0, 0.037, PHOTOS)
    trainings = generator.normal(0.0, 0.02, SEEDS)
    return [effect + photos + training + generator.normal(0.0, 0.01, PHOTOS) for training in trainings]


def estimates(effect: float, seed: int) -> list[Estimate]:
    generator = np.random.default_rng(seed)
    nothing = [np.zeros(PHOTOS)] * SEEDS
    found = [paired(drawn(effect, generator), nothing, BOOTSTRAP, 0.95) for _ in range(RUNS)]
    return [one for one in found if one is not None]


def test_intervals_hold_the_true_difference_as_often_as_said_when_photos_and_trainings_are_both_drawn() -> None:
    found = estimates(0.03, 1)
    covered = np.mean([one.low <= 0.03 <= one.high for one in found])
    assert 0.93 <= covered <= 0.98  # a share of 600 has a deviation of .009
    generator = np.random.default_rng(1)
    alone = [BOOTSTRAP.mean(np.mean(drawn(0.03, generator), axis=0)) for _ in range(RUNS)]
    assert np.mean([one.low <= 0.03 <= one.high for one in alone]) < 0.91  # photos alone are too sure


def test_of_no_difference_p_is_below_the_level_as_often_as_the_level_says() -> None:
    assert np.mean([one.p < 0.05 for one in estimates(0.0, 2)]) <= 0.07


def test_p_and_interval_agree() -> None:
    for one in estimates(0.02, 3)[:100]:
        assert (one.p < 0.05) == (one.low > 0.0 or one.high < 0.0)


def test_the_smallest_detectable_effect_is_found_in_four_of_five() -> None:
    typical = float(np.sqrt(np.mean([one.detectable**2 for one in estimates(0.0, 4)])))
    share = np.mean([one.p < 0.05 for one in estimates(typical, 5)])
    assert share == pytest.approx(POWER, abs=0.07)


def test_the_bound_is_above_the_true_difference_as_often_as_said() -> None:
    assert np.mean([abs(0.03) <= one.bound for one in estimates(0.03, 6)]) >= 0.93


def test_an_estimate_by_hand() -> None:
    """Mean 1, error .5, 4 degrees of freedom: t(.975) 2.7764, t(.95) 2.1318, t(.8) .9410; p of t = 2 is .1161."""
    one = estimate(TwoWay(1.0, 0.5, 4.0), 0.95)
    assert (one.low, one.high) == pytest.approx((1 - 1.3882, 1 + 1.3882), abs=1e-4)
    assert one.p == pytest.approx(0.1161, abs=1e-4)
    assert one.detectable == pytest.approx(0.5 * (2.7764 + 0.9410), abs=1e-4)
    assert one.bound == pytest.approx(1.0 + 0.5 * 2.1318, abs=1e-4)


def test_trainings_that_are_all_the_same_differ_by_nothing_for_sure() -> None:
    same = [np.zeros(PHOTOS)] * SEEDS
    assert paired(same, same, BOOTSTRAP, 0.95) == Estimate(0.0, 0.0, 0.0, 1.0, 0.0, 0.0)


def test_one_training_has_the_photos_alone_and_none_has_nothing() -> None:
    values = np.random.default_rng(7).normal(size=PHOTOS)
    one = paired([values], [np.zeros(PHOTOS)], BOOTSTRAP, 0.95)
    assert one is not None
    assert one.high - one.mean == pytest.approx(2.0796 * values.std(ddof=1) / np.sqrt(PHOTOS), rel=0.1)
    assert paired([], [], BOOTSTRAP, 0.95) is None
    assert paired([np.full(PHOTOS, np.nan)], [values], BOOTSTRAP, 0.95) is None


def test_pairing_by_seed_takes_out_what_seeds_share() -> None:
    generator = np.random.default_rng(8)
    left = drawn(0.0, generator)
    right = [values - 0.005 for values in left]
    one = paired(left, right, BOOTSTRAP, 0.95)
    assert one is not None
    assert one.p < 1e-6
    shuffled = paired(left, [right[(place + 1) % SEEDS] for place in range(SEEDS)], BOOTSTRAP, 0.95)
    assert shuffled is not None
    assert shuffled.p > 0.05


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.5}) == pytest.approx(
        {"a": 0.04, "c": 0.09, "b": 0.09, "d": 0.5}
    )
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}
    assert holm({}) == {}
