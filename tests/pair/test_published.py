"""Builders and filters of other papers, by hand: Pareto fronts, rank then sift, transport margins."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.optimize import linprog

from components.pair.builders import build
from components.pair.filters import filtered
from components.pair.filters.transport import cost, sinkhorn
from components.pair.pairs import Pair
from components.rewards.group import GroupScores, win_rates
from components.settings import BUILDER_KINDS, ParetoBuilder, Settings, TransportFilter
from tests.made import small_params

FRONT = GroupScores(
    "a",
    (0, 2, 3, 5, 8),
    ("lpips-vgg", "musiq"),
    np.array([[4.0, 3.0, 2.0, 1.0, 2.5], [1.0, 3.0, 2.0, 0.0, 4.0]]),
    np.array([1.0, 1.0]),
)
"""Nobody dominates 0, 2 and 8: 0 leads in the first metric, 8 in the second. 2 dominates 3, and all dominate 5, which
alone dominates nobody."""
REWARDS = np.array([0.5, 0.7, 0.4, 0.0, 0.8])


def made(kind: str, scores: GroupScores, rewards: np.ndarray, **own: Any) -> list[Pair]:
    return build(scores, rewards, BUILDER_KINDS[kind].model_validate({"kind": kind, **own}))


def couples(pairs: list[Pair]) -> list[tuple[int, int]]:
    return [(pair.winner, pair.loser) for pair in pairs]


def test_a_front_by_hand() -> None:
    pairs = made("pareto", FRONT, REWARDS)
    assert couples(pairs) == [(0, 5), (2, 5), (8, 5)]
    assert [pair.weight for pair in pairs] == pytest.approx([1 / 3] * 3)
    assert [pair.gap for pair in pairs] == pytest.approx([0.5, 0.7, 0.8])
    mean = win_rates(FRONT.values, FRONT.deviations).mean(axis=0)
    assert [pair.target for pair in pairs] == pytest.approx([mean[0] - mean[3], mean[1] - mean[3], mean[4] - mean[3]])
    assert not any(pair.stand_in for pair in pairs)


def test_who_is_on_both_fronts_is_left_out() -> None:
    """1 leads in one metric and is last in the other: nobody dominates it, and it dominates nobody."""
    scores = GroupScores(
        "a", (0, 1, 2), ("lpips-vgg", "musiq"), np.array([[2.0, 3.0, 1.0], [2.0, 0.0, 1.0]]), np.ones(2)
    )
    assert couples(made("pareto", scores, np.zeros(3))) == [(0, 2)]


def test_where_a_front_is_empty_the_best_by_the_mean_stands_against_the_worst() -> None:
    scores = GroupScores(
        "a", (0, 1, 2), ("lpips-vgg", "musiq"), np.array([[3.0, 2.0, 1.0], [0.0, 2.0, 2.5]]), np.ones(2)
    )
    pairs = made("pareto", scores, np.zeros(3))
    mean = win_rates(scores.values, scores.deviations).mean(axis=0)
    assert couples(pairs) == [(int(mean.argmax()), int(mean.argmin()))]
    assert pairs[0].stand_in
    assert pairs[0].target == pytest.approx(mean.max() - mean.min())
    same = GroupScores("a", (0, 1), ("lpips-vgg", "musiq"), np.ones((2, 2)), np.ones(2))
    assert made("pareto", same, np.zeros(2)) == []


def test_more_than_three_metrics_are_compared_by_their_sides() -> None:
    """Each leads in a metric of its own; by the sides 0 dominates 2."""
    values = np.array([[3.0, 0.0, 2.0], [3.0, 4.0, 2.0], [3.0, 0.0, 2.0], [1.0, 0.0, 1.5], [3.0, 4.0, 0.0]])
    scores = GroupScores(
        "a", (0, 1, 2), ("lpips-vgg", "topiq_fr", "musiq", "maniqa-pipal", "clipiqa+"), values, np.ones(5)
    )
    rewards = np.zeros(3)
    assert couples(made("pareto", scores, rewards)) == couples(made("pareto", scores, rewards, axes="sides"))
    assert (0, 2) in couples(made("pareto", scores, rewards))
    assert [pair.stand_in for pair in made("pareto", scores, rewards, axes="metrics")] == [True]


def test_targets_are_what_capo_needs() -> None:
    values = small_params()
    values["pair"] |= {"builder": "pareto"}
    values["train"] |= {"objective": "capo"}
    assert isinstance(Settings.model_validate(values).pair.builder, ParetoBuilder)
    values["pair"] |= {"builder": "dp2o"}
    with pytest.raises(ValidationError, match=r"it is filled by pair\.builder pareto"):
        Settings.model_validate(values)


def judged(fidelity: list[float], realism: list[float]) -> GroupScores:
    values = np.array([fidelity, realism])
    return GroupScores("a", tuple(range(len(fidelity))), ("psnr", "musiq"), values, np.ones(2))


def test_of_the_chosen_the_best_wins_over_the_worst_of_the_rejected() -> None:
    """The judge knows each comparison's winner: with any draw, winners have a judge's 1 and losers a judge's 0."""
    for seed in range(20):
        scores = judged([1, 1, 1, 0, 0, 0], [1, 2, 3, 4, 5, 6])
        pairs = made("rank_then_sift", scores, np.zeros(6), top=3, seed=seed)
        assert pairs == []  # whoever is rejected has the higher score
        turned = judged([0, 0, 0, 1, 1, 1], [1, 2, 3, 4, 5, 6])
        first = made("rank_then_sift", turned, np.zeros(6), top=1, seed=seed)
        assert len(first) <= 1
        for pair in first:
            assert turned.values[1, pair.winner] > turned.values[1, pair.loser]


def test_two_meet_and_the_judge_decides_and_the_score_has_the_last_word() -> None:
    assert couples(made("rank_then_sift", judged([0, 1], [5, 6]), np.array([0.25, 0.75]), top=1, seed=0)) == [(1, 0)]
    assert made("rank_then_sift", judged([0, 1], [5, 6]), np.array([0.25, 0.75]), top=1, seed=0)[0].gap == 0.5
    assert made("rank_then_sift", judged([0, 1], [6, 5]), np.zeros(2), top=1, seed=0) == []
    assert made("rank_then_sift", judged([1, 1], [6, 5]), np.zeros(2), top=1, seed=0) == []
    assert (
        couples(
            made(
                "rank_then_sift", judged([6, 5], [0, 1]), np.zeros(2), top=1, seed=0, judge="realism", scorer="fidelity"
            )
        )
        == []
    )


def test_scores_are_numbers_and_not_words() -> None:
    """As a word "9" is above "10": the winner would be 0."""
    assert couples(made("rank_then_sift", judged([0, 1], [9, 10]), np.zeros(2), top=1, seed=0)) == [(1, 0)]


def test_who_meets_whom_follows_from_the_seed_and_the_image() -> None:
    generator = np.random.default_rng(3)
    values = generator.normal(size=(2, 12))

    def drawn(lr_id: str, seed: int) -> list[tuple[int, int]]:
        scores = GroupScores(lr_id, tuple(range(12)), ("psnr", "musiq"), values, np.ones(2))
        return couples(made("rank_then_sift", scores, np.zeros(12), top=3, seed=seed))

    assert drawn("a", 0) == drawn("a", 0)
    assert len({tuple(drawn(lr_id, seed)) for lr_id in "ab" for seed in (0, 1)}) == 4


def test_a_judge_without_metrics_is_refused_by_name() -> None:
    values = small_params()
    values["pair"] |= {"builder": "rank_then_sift"}
    Settings.model_validate(values)
    values["score"] |= {"nr": []}
    with pytest.raises(ValidationError, match=r"rank_then_sift asks for realism, and score\.nr is empty"):
        Settings.model_validate(values)
    values["pair"] |= {"builder": {"kind": "rank_then_sift", "scorer": "fidelity"}}
    Settings.model_validate(values)
    with pytest.raises(ValidationError, match="8 candidates make 4"):
        Settings.model_validate(values | {"pair": values["pair"] | {"top": 5}})


def test_the_plan_has_uniform_marginals() -> None:
    plan = sinkhorn(np.random.default_rng(0).normal(size=(3, 5)), 0.1, 50)
    np.testing.assert_allclose(plan.sum(axis=1), [1 / 3] * 3, rtol=1e-12)
    np.testing.assert_allclose(plan.sum(axis=0), [1 / 5] * 5, rtol=1e-3)


def test_with_little_entropy_the_plan_is_the_optimal_one() -> None:
    costs = np.random.default_rng(1).uniform(size=(3, 4))
    plan = sinkhorn(costs, 0.002, 3000)
    sums = np.vstack([np.kron(np.eye(3), np.ones(4)), np.kron(np.ones(3), np.eye(4))])
    exact = linprog(costs.ravel(), A_eq=sums, b_eq=[1 / 3] * 3 + [1 / 4] * 4)
    assert (plan * costs).sum() == pytest.approx(exact.fun, abs=1e-3)


def margins(scores: GroupScores, pairs: list[Pair], **own: Any) -> list[float | None]:
    return [pair.margin for pair in filtered(scores, pairs, [TransportFilter(**own)])]


def test_of_one_pair_the_margin_is_its_cost() -> None:
    """Rewards 2 apart and scores of opposite directions: .9 (1 - sigmoid(2)) - .1."""
    scores = GroupScores("a", (0, 1), ("psnr", "musiq"), np.array([[2.0, 0.0], [4.0, 0.0]]), np.array([1.0, 2.0]))
    one = margins(scores, [Pair(0, 1, 0.5)])
    assert one == pytest.approx([0.9 * (1 - 1 / (1 + np.exp(-2.0))) - 0.1])
    assert margins(scores, [Pair(0, 1, 0.5)], scale=3.0) == pytest.approx([3 * float(one[0] or 0)])


def test_alike_pairs_get_a_larger_margin_and_none_a_negative_one() -> None:
    scores = GroupScores("a", (0, 1, 2, 3), ("psnr", "musiq"), np.array([[9.0, 1.0, 0.9, -9.0]] * 2), np.ones(2))
    far, near = margins(scores, [Pair(0, 3, 1.0)])[0], margins(scores, [Pair(1, 2, 0.1)])[0]
    assert far == 0.0
    assert near is not None
    assert near > 0.5


def test_two_equal_losers_cost_the_same_and_the_norm_keeps_margins_from_shrinking() -> None:
    scores = GroupScores("a", (0, 1, 2, 3), ("psnr", "musiq"), np.array([[4.0, 3.0, 1.0, 1.0]] * 2), np.ones(2))
    costs = cost(scores, [0, 1], [2, 3], 0.1)
    plan = sinkhorn(costs, 0.1, 50)
    np.testing.assert_allclose(plan[:, 0], plan[:, 1])
    pairs = [Pair(winner, loser, 0.5) for winner in (0, 1) for loser in (2, 3)]
    plain, normed = margins(scores, pairs, row_norm=False), margins(scores, pairs)
    assert normed == pytest.approx([2 * float(one or 0) for one in plain])
    assert normed[0] == normed[1]
    assert normed[2] == normed[3]
