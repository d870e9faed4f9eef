"""The golden group of the method (M = 4, N = 2), and what holds for any group."""

from collections.abc import Sequence

import numpy as np
import pytest

from components.errors import BadInput
from components.pair.builders import BUILDERS, Builder, build
from components.pair.pairs import NO_LOSER, Pair, rank
from components.pair.weights import inter_weights, intra_weights, raised, spread, variation
from components.rewards.group import GroupScores, group_rewards
from components.settings import BUILDER_KINDS, BuilderSettings

GOLDEN = {
    "lpips-vgg": [0.40, 0.44, 0.42, 0.48],
    "topiq_fr": [0.45, 0.43, 0.44, 0.40],
    "afine_fr": [-0.9, -1.1, -0.7, -0.5],
    "musiq": [70.0, 74.0, 72.0, 66.0],
    "afine_nr": [-1.0, -1.2, -1.1, -0.8],
}
REWARDS = np.array([0.694444, 0.85, 0.688889, 0.0])
INDEXES = [0, 1, 2, 3]


def group(indexes: Sequence[int], lr_id: str = "a") -> GroupScores:
    """A group whose builders look at its rewards alone."""
    return GroupScores(lr_id, tuple(indexes), (), np.zeros((0, len(indexes))), np.zeros(0))


def made(kind: str, indexes: Sequence[int], rewards: np.ndarray, lr_id: str = "a", **own: int) -> list[Pair]:
    """Pairs by a builder with settings of its own."""
    return build(group(indexes, lr_id), rewards, BUILDER_KINDS[kind].model_validate({"kind": kind, **own}))


def golden_rewards() -> np.ndarray:
    return group_rewards({name: np.array(values) for name, values in GOLDEN.items()})


def test_golden_group() -> None:
    rewards = golden_rewards()
    assert rewards == pytest.approx(REWARDS, abs=1e-6)
    assert rank(INDEXES, rewards) == [1, 0, 2, 3]
    pairs = made("dp2o", INDEXES, rewards, top=2)
    assert [(pair.winner, pair.loser) for pair in pairs] == [(1, 3), (1, 2), (0, 3), (0, 2)]
    assert [pair.gap for pair in pairs] == pytest.approx([0.85, 0.161111, 0.694444, 0.005556], abs=1e-6)
    assert np.mean([pair.gap for pair in pairs]) == pytest.approx(0.427778, abs=1e-6)
    assert intra_weights(pairs) == pytest.approx([1.422222, 0.733333, 1.266667, 0.577778], abs=1e-6)
    assert spread(rewards) == pytest.approx(0.328777, abs=1e-6)  # population; of a sample it were 0.379639


def test_ties_go_by_candidate_index() -> None:
    assert rank([7, 2, 5, 0], np.array([0.5, 0.5, 0.9, 0.5])) == [2, 3, 1, 0]


def test_pairs_of_equal_reward_are_dropped() -> None:
    pairs = made("dp2o", [0, 1, 2, 3], np.array([0.5, 0.5, 0.5, 0.1]), top=2)
    assert [(pair.winner, pair.loser) for pair in pairs] == [(0, 3), (1, 3)]
    assert made("dp2o", [0, 1], np.array([0.5, 0.5]), top=1) == []
    assert made("best_vs_worst", [0, 1], np.array([0.5, 0.5])) == []


def test_pairs_name_candidates_not_positions() -> None:
    """A quarantined candidate leaves a hole in the indexes."""
    assert made("dp2o", [1, 4, 6, 9], np.array([0.25, 1.0, 0.5, 0.75]), top=1) == [Pair(4, 1, 0.75)]


def test_best_vs_worst() -> None:
    (pair,) = made("best_vs_worst", INDEXES, golden_rewards())
    assert (pair.winner, pair.loser) == (1, 3)
    assert pair.gap == pytest.approx(0.85)


def test_winners_only() -> None:
    pairs = made("winners_only", INDEXES, golden_rewards(), top=2)
    assert pairs == [Pair(1, NO_LOSER, 0.0), Pair(0, NO_LOSER, 0.0)]
    assert list(intra_weights(pairs)) == [1.0, 1.0]


def test_random_pairs_ignore_the_reward_and_depend_on_seed_and_lr() -> None:
    rewards = np.linspace(0.0, 1.0, 12)
    first = made("random", range(12), rewards, top=3, seed=0)
    assert first == made("random", range(12), rewards, top=3, seed=0)
    drawn = {(pair.winner, pair.loser) for pair in first}
    assert len(drawn) == 9
    assert len({winner for winner, _ in drawn} | {loser for _, loser in drawn}) == 6
    shuffled = made("random", range(12), rewards[::-1], top=3, seed=0)
    assert [(pair.winner, pair.loser) for pair in shuffled] == [(pair.winner, pair.loser) for pair in first]
    assert [pair.gap for pair in shuffled] == pytest.approx([-pair.gap for pair in first])
    others = [made("random", range(12), rewards, lr_id, top=3, seed=seed) for seed, lr_id in ((1, "a"), (0, "b"))]
    assert first not in others


def test_random_pairs_lean_to_neither_side() -> None:
    rewards = np.linspace(0.0, 1.0, 16)
    gaps = [pair.gap for seed in range(200) for pair in made("random", range(16), rewards, top=4, seed=seed)]
    assert abs(np.mean(gaps)) < 0.03  # of 800 independent winners and losers each, sd 0.3: four standard errors


@pytest.mark.parametrize("top", [1, 2, 4])
def test_both_weights_are_one_on_average(top: int) -> None:
    generator = np.random.default_rng(0)
    for _ in range(5):
        pairs = made("dp2o", range(8), generator.random(8), top=top)
        assert len(pairs) == top * top
        assert intra_weights(pairs).mean() == pytest.approx(1.0)
    assert inter_weights(generator.random(7)).mean() == pytest.approx(1.0)


def test_weights_rise_with_gap_and_spread() -> None:
    assert intra_weights([Pair(0, 1, 0.1), Pair(0, 2, 0.5)]) == pytest.approx([0.8, 1.2])
    assert inter_weights(np.array([0.1, 0.3])) == pytest.approx([0.9, 1.1])
    assert intra_weights([Pair(0, 1, -0.5), Pair(0, 2, 0.1)]) == pytest.approx([1.2, 0.8])  # random builder


def test_a_row_a_kind_of_the_settings() -> None:
    assert {kind: row.settings for kind, row in BUILDERS.items()} == BUILDER_KINDS


@pytest.mark.parametrize("kind", BUILDER_KINDS)
def test_the_plan_counts_what_a_group_gives_at_most(kind: str) -> None:
    own = {name: 2 for name in ("top", "seed") if name in BUILDER_KINDS[kind].model_fields}
    settings = BUILDER_KINDS[kind].model_validate({"kind": kind, **own})
    values = np.sort(np.random.default_rng(0).random((2, 8)), axis=1)
    scores = GroupScores("a", tuple(range(8)), ("psnr", "musiq"), values, np.ones(2))
    pairs = build(scores, values.mean(axis=0), settings)
    rows = {index for pair in pairs for index in (pair.winner, pair.loser)} - {NO_LOSER}
    if kind in ("pareto", "votes"):  # how many are on a front, or were voted on, is known of no group before
        assert (len(rows), len(pairs)) <= settings.counts(8)
    else:
        assert settings.counts(8) == (len(rows), len(pairs))
    assert settings.losers == all(pair.loser != NO_LOSER for pair in pairs)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (Pair(7, 0, 0.1), r"pairs candidate 7 with 0, and a has candidates \[0, 1\]"),
        (Pair(0, 0, 0.1), "pairs candidate 0 with 0"),
        (Pair(0, NO_LOSER, 0.0), "says losers = True, and gave a a pair of 0 with -1"),
    ],
)
def test_pairs_that_cannot_be_are_refused(monkeypatch: pytest.MonkeyPatch, pair: Pair, message: str) -> None:
    monkeypatch.setitem(BUILDERS, "own", Builder(BuilderSettings, lambda scores, rewards, settings: [pair]))
    with pytest.raises(BadInput, match=message):
        build(group([0, 1]), np.array([0.0, 1.0]), BuilderSettings(kind="own"))


def test_a_power_makes_weights_differ_more_and_keeps_their_mean() -> None:
    weights = np.array([0.5, 1.0, 1.5])
    assert raised(weights, 1.0) is weights
    assert raised(weights, 2.0) == pytest.approx(np.array([0.25, 1.0, 2.25]) / (3.5 / 3))
    assert raised(np.array([-0.5, 1.0]), 2.0) == pytest.approx([0.0, 2.0])
    assert variation(weights) == pytest.approx(np.std(weights))
    assert variation(raised(weights, 4.0)) > variation(raised(weights, 2.0)) > variation(weights)
