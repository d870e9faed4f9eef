import numpy as np
import pytest

from components.judge.bootstrap import ClusterBootstrap, Interval, wins


def bootstrap(clusters: list[str], seed: int = 0) -> ClusterBootstrap:
    return ClusterBootstrap(clusters, resamples=4000, confidence=0.95, seed=seed)


def test_constant_differences_have_an_interval_of_width_zero() -> None:
    interval = bootstrap(["a", "a", "b", "c"]).mean(np.full(4, 0.1))
    assert interval == Interval(0.1, 0.1, 0.1)
    assert interval.excludes_zero


def test_zero_everywhere_does_not_exclude_zero() -> None:
    assert not bootstrap(["a", "b"]).mean(np.zeros(2)).excludes_zero


def test_two_clusters_by_hand() -> None:
    # Clusters {0} and {1}: resamples have mean 0 (1/4), 0.5 (1/2) or 1 (1/4), so the 95 % interval is all of [0, 1].
    assert bootstrap(["a", "b"]).mean(np.array([0.0, 1.0])) == Interval(0.5, 0.0, 1.0)


def test_clusters_weigh_by_their_rows() -> None:
    # {1, 1, 1} and {0}: mean .75; a resample with both once has mean .75, with one of them twice 1 or 0.
    assert bootstrap(["a", "a", "a", "b"]).mean(np.array([1.0, 1.0, 1.0, 0.0])) == Interval(0.75, 0.0, 1.0)


def test_duplicated_rows_of_a_cluster_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(1).normal(size=40)
    names = [f"photo{number}" for number in range(40)]
    once = bootstrap(names).mean(values)
    eightfold = bootstrap(names * 8).mean(np.tile(values, 8))
    assert eightfold.low == pytest.approx(once.low, abs=1e-12)
    assert eightfold.high == pytest.approx(once.high, abs=1e-12)
    as_if_independent = bootstrap([str(row) for row in range(320)]).mean(np.tile(values, 8))
    assert as_if_independent.high - as_if_independent.low < 0.5 * (once.high - once.low)


def test_width_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(2).normal(0.3, 1.0, size=400)
    interval = bootstrap([str(row) for row in range(400)]).mean(values)
    standard_error = values.std() / 20.0
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * standard_error, rel=0.06)


def test_unknown_rows_are_left_out() -> None:
    with_gap = bootstrap(["a", "b", "c"]).mean(np.array([1.0, np.nan, 1.0]))
    assert with_gap == Interval(1.0, 1.0, 1.0)


def test_a_seed_gives_the_same_interval() -> None:
    values, names = np.random.default_rng(3).normal(size=10), [str(row) for row in range(10)]
    assert bootstrap(names, 7).mean(values) == bootstrap(names, 7).mean(values)
    assert bootstrap(names, 7).mean(values) != bootstrap(names, 8).mean(values)


def test_nothing_to_average_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        bootstrap([])
    with pytest.raises(ValueError, match="no finite value"):
        bootstrap(["a"]).mean(np.array([np.nan]))
    with pytest.raises(ValueError, match="rows"):
        bootstrap(["a"]).mean(np.zeros(2))


def test_wins_count_ties_half_and_unknown_not_at_all() -> None:
    result = wins(np.array([0.0, 1.0, 1.0, np.nan]), np.array([1.0, 0.0, 1.0, 1.0]))
    np.testing.assert_array_equal(result, [1.0, 0.0, 0.5, np.nan])


def test_few_clusters_are_covered_as_often_as_said() -> None:
    """1000 data sets of 12 clusters, true mean 0: 95 % intervals hold it in 95 %; plain percentiles did in 91 %."""
    generator = np.random.default_rng(4)
    names = [str(row) for row in range(12)]
    drawn = ClusterBootstrap(names, resamples=1000, confidence=0.95, seed=5)
    intervals = [drawn.mean(generator.normal(size=12)) for _ in range(1000)]
    covered = np.mean([interval.low <= 0.0 <= interval.high for interval in intervals])
    # Binomial sd of a share of 1000: .007; two of them on each side.
    assert 0.936 <= covered <= 0.964


def test_training_seeds_are_a_random_factor() -> None:
    """Three trainings 0, 1, 2 that agree on every photo: all variance is the seeds', 2 degrees of freedom.

    Mean 1, standard error sqrt(1 / 3), t(.975, 2) = 4.3027: 1 +- 2.4842.
    """
    found = bootstrap(list("abcd")).over_seeds(np.array([[0.0] * 4, [1.0] * 4, [2.0] * 4]))
    assert (found.mean, found.low, found.high) == pytest.approx((1.0, 1.0 - 2.4842, 1.0 + 2.4842), abs=1e-3)


def test_trainings_that_agree_leave_the_photos() -> None:
    """Twenty photos, three equal trainings: the interval is t's of 19 degrees of freedom about the mean."""
    values = np.random.default_rng(6).normal(size=20)
    found = bootstrap([f"photo{number:02d}" for number in range(20)]).over_seeds(np.tile(values, (3, 1)))
    expected = 2.0930 * values.std(ddof=1) / np.sqrt(20)
    assert found.high - found.mean == pytest.approx(expected, rel=0.05)


def test_one_training_has_no_interval_over_seeds() -> None:
    with pytest.raises(ValueError, match="1 trainings"):
        bootstrap(["a", "b"]).over_seeds(np.zeros((1, 2)))
