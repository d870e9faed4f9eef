"""Intervals, agreement and ranking: by hand, and against simulated raters whose preference is known."""

import numpy as np
import pytest

from components.study.ranking import Duels, fit, ranking, unidentified
from components.study.statistics import alpha, share


def test_alpha_by_hand() -> None:
    """Two units of two raters: 1, 1 and 1, 0. Observed 2 over 4 values; by chance, of both orders, 32 of 56 pairs."""
    values, raters, units = [1.0, 1.0, 1.0, 0.0], ["a", "b", "a", "b"], ["u", "u", "v", "v"]
    assert alpha(values, raters, units) == pytest.approx(1.0 - (2.0 / 4.0) / (2 * 4 * 4 / (8 * 7)))
    assert alpha([1.0, 1.0, 1.0, 1.0], raters, units) == 1.0  # all prefer one model, and agree
    assert alpha([1.0, 0.0], ["a", "a"], ["u", "v"]) is None


def test_alpha_of_coins_is_about_zero_and_of_a_tie_in_between() -> None:
    generator = np.random.default_rng(0)
    units = [f"u{unit}" for unit in range(300) for _ in range(3)]
    raters = [f"r{rater}" for _ in range(300) for rater in range(3)]
    found = alpha(generator.integers(0, 2, 900).astype(float).tolist(), raters, units)
    assert found is not None
    assert abs(found) < 0.08


def simulated(seed: int, raters: int, photos: int, mean: float) -> tuple[list[float], list[str], list[str]]:
    """Votes whose chance is `mean` plus a photo's and a rater's own part, of standard deviations .2 and .1."""
    generator = np.random.default_rng(seed)
    of_photo, of_rater = generator.normal(0, 0.2, photos), generator.normal(0, 0.1, raters)
    chance = np.clip(mean + of_photo[:, None] + of_rater, 0.0, 1.0)
    votes = (generator.random(chance.shape) < chance).astype(float)
    names = [(f"r{rater}", f"p{photo}") for photo in range(photos) for rater in range(raters)]
    return votes.ravel().tolist(), [rater for rater, _ in names], [photo for _, photo in names]


def test_the_interval_covers_a_known_preference() -> None:
    """Of 120 studies of 6 raters and 24 photos, 95 % intervals: 109 to 120 is within three standard errors of 114."""
    covered = naive = 0
    for seed in range(120):
        values, raters, photos = simulated(seed, 6, 24, 0.6)
        found = share(values, raters, photos, resamples=300)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.6 <= found.high
        error = float(np.std(values)) / len(values) ** 0.5
        naive += abs(float(np.mean(values)) - 0.6) <= 1.96 * error
    assert covered >= 107
    assert naive < covered - 6  # as if votes were independent: too narrow


def test_few_votes() -> None:
    assert share([], [], []).mean is None
    alone = share([1.0, 0.0], ["a", "a"], ["p", "p"])
    assert (alone.mean, alone.low) == (0.5, None)
    unanimous = share([1.0] * 20, ["a", "b"] * 10, [f"p{place // 2}" for place in range(20)])
    assert unanimous.high == 1.0
    assert unanimous.low == pytest.approx(0.158, abs=1e-3)  # two raters: 0.025 ** (1 / 2)
    one = share([1.0, 0.0, 1.0, 1.0], ["a"] * 4, ["p", "q", "r", "s"])
    assert one.low is not None  # over photos alone
    assert one.raters == 1


def test_strengths_of_two_are_the_log_odds() -> None:
    strengths = fit(np.array([[0.0, 30.0], [10.0, 0.0]]))
    assert strengths[0] - strengths[1] == pytest.approx(np.log(3.0))
    assert strengths.sum() == pytest.approx(0.0)


def test_a_known_order_is_recovered() -> None:
    generator = np.random.default_rng(1)
    truth = np.array([0.8, 0.0, -0.8])
    first, second, values, raters, photos = [], [], [], [], []
    for photo in range(60):
        for rater in range(5):
            for one, other in ((0, 1), (0, 2), (1, 2)):
                chance = 1.0 / (1.0 + np.exp(truth[other] - truth[one]))
                first.append(one)
                second.append(other)
                values.append(float(generator.random() < chance))
                raters.append(f"r{rater}")
                photos.append(f"p{photo}")
    found = ranking(Duels(("good", "fair", "poor"), first, second, values, raters, photos), resamples=100)
    assert [one.model for one in found.strengths] == ["good", "fair", "poor"]
    for one, true in zip(found.strengths, truth, strict=True):
        assert one.low is not None
        assert one.high is not None
        assert one.low < true < one.high
        assert one.high - one.low < 1.0


def test_what_has_no_ranking_says_who() -> None:
    apart = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert unidentified(apart, ("a", "b", "c")) == "no ranking: a, b and c were never compared"
    swept = np.array([[0.0, 3.0, 3.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    assert "a won every comparison with b, c" in unidentified(swept, ("a", "b", "c"))
    assert unidentified(np.ones((3, 3)) - np.eye(3), ("a", "b", "c")) == ""
