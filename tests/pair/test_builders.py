"""The golden group of the method (M = 4, N = 2), and what holds for any group."""

import numpy as np
import pytest

from components.pair import builders
from components.pair.builders import NO_LOSER, Pair
from components.rewards.group import group_rewards

GOLDEN = {
    "lpips-vgg": [0.40, 0.44, 0.42, 0.48],
    "topiq_fr": [0.45, 0.43, 0.44, 0.40],
    "afine_fr": [-0.9, -1.1, -0.7, -0.5],
    "musiq": [70.0, 74.0, 72.0, 66.0],
    "afine_nr": [-1.0, -1.2, -1.1, -0.8],
}
REWARDS = np.array([0.694444, 0.85, 0.688889, 0.0])
INDEXES = [0, 1, 2, 3]


def golden_rewards() -> np.ndarray:
    return group_rewards({name: np.array(values) for name, values in GOLDEN.items()})


def test_golden_group() -> None:
    rewards = golden_rewards()
    assert rewards == pytest.approx(REWARDS, abs=1e-6)
    assert builders.rank(INDEXES, rewards) == [1, 0, 2, 3]
    pairs = builders.dp2o(INDEXES, rewards, top=2)
    assert [(pair.winner, pair.loser) for pair in pairs] == [(1, 3), (1, 2), (0, 3), (0, 2)]
    assert [pair.gap for pair in pairs] == pytest.approx([0.85, 0.161111, 0.694444, 0.005556], abs=1e-6)
    assert np.mean([pair.gap for pair in pairs]) == pytest.approx(0.427778, abs=1e-6)
    assert builders.intra_weights(pairs) == pytest.approx([1.422222, 0.733333, 1.266667, 0.577778], abs=1e-6)
    assert builders.spread(rewards) == pytest.approx(0.328777, abs=1e-6)  # population; of a sample it were 0.379639


def test_ties_go_by_candidate_index() -> None:
    assert builders.rank([7, 2, 5, 0], np.array([0.5, 0.5, 0.9, 0.5])) == [2, 3, 1, 0]


def test_pairs_of_equal_reward_are_dropped() -> None:
    pairs = builders.dp2o([0, 1, 2, 3], np.array([0.5, 0.5, 0.5, 0.1]), top=2)
    assert [(pair.winner, pair.loser) for pair in pairs] == [(0, 3), (1, 3)]
    assert builders.dp2o([0, 1], np.array([0.5, 0.5]), top=1) == []
    assert builders.best_vs_worst([0, 1], np.array([0.5, 0.5])) == []


def test_pairs_name_candidates_not_positions() -> None:
    """A quarantined candidate leaves a hole in the indexes."""
    assert builders.dp2o([1, 4, 6, 9], np.array([0.25, 1.0, 0.5, 0.75]), top=1) == [Pair(4, 1, 0.75)]


def test_best_vs_worst() -> None:
    (pair,) = builders.best_vs_worst(INDEXES, golden_rewards())
    assert (pair.winner, pair.loser) == (1, 3)
    assert pair.gap == pytest.approx(0.85)


def test_winners_only() -> None:
    pairs = builders.winners_only(INDEXES, golden_rewards(), top=2)
    assert pairs == [Pair(1, NO_LOSER, 0.0), Pair(0, NO_LOSER, 0.0)]
    assert list(builders.intra_weights(pairs)) == [1.0, 1.0]


def test_random_pairs_ignore_the_reward_and_depend_on_seed_and_lr() -> None:
    rewards = np.linspace(0.0, 1.0, 12)
    first = builders.random(range(12), rewards, 3, seed=0, lr_id="a")
    assert first == builders.random(range(12), rewards, 3, seed=0, lr_id="a")
    drawn = {(pair.winner, pair.loser) for pair in first}
    assert len(drawn) == 9
    assert len({winner for winner, _ in drawn} | {loser for _, loser in drawn}) == 6
    shuffled = builders.random(range(12), rewards[::-1], 3, seed=0, lr_id="a")
    assert [(pair.winner, pair.loser) for pair in shuffled] == [(pair.winner, pair.loser) for pair in first]
    assert [pair.gap for pair in shuffled] == pytest.approx([-pair.gap for pair in first])
    others = [builders.random(range(12), rewards, 3, seed=seed, lr_id=lr_id) for seed, lr_id in ((1, "a"), (0, "b"))]
    assert first not in others


def test_random_pairs_lean_to_neither_side() -> None:
    rewards = np.linspace(0.0, 1.0, 16)
    gaps = [pair.gap for seed in range(200) for pair in builders.random(range(16), rewards, 4, seed, "a")]
    assert abs(np.mean(gaps)) < 0.03  # of 800 independent winners and losers each, sd 0.3: four standard errors


@pytest.mark.parametrize("top", [1, 2, 4])
def test_both_weights_are_one_on_average(top: int) -> None:
    generator = np.random.default_rng(0)
    for _ in range(5):
        pairs = builders.dp2o(range(8), generator.random(8), top)
        assert len(pairs) == top * top
        assert builders.intra_weights(pairs).mean() == pytest.approx(1.0)
    assert builders.inter_weights(generator.random(7)).mean() == pytest.approx(1.0)


def test_weights_rise_with_gap_and_spread() -> None:
    assert builders.intra_weights([Pair(0, 1, 0.1), Pair(0, 2, 0.5)]) == pytest.approx([0.8, 1.2])
    assert builders.inter_weights(np.array([0.1, 0.3])) == pytest.approx([0.9, 1.1])
    assert builders.intra_weights([Pair(0, 1, -0.5), Pair(0, 2, 0.1)]) == pytest.approx([1.2, 0.8])  # random builder
