import pytest

from benchmarks.arena.budget import Passes, before_training, of_steps, rows, steps_within
from components.errors import BadInput
from components.settings import Settings
from components.train.groups import Group
from tests.made import small_params


def settings(**blocks: dict[str, object]) -> Settings:
    values = small_params()
    values["train"] |= {"groups_per_step": 2, "micro_batch": 1}
    for name, block in blocks.items():
        values[name] |= block
    return Settings.model_validate(values)


def group(lr_id: str, winners: int, losers: int) -> Group:
    pairs = [(winner, winners + loser) for winner in range(winners) for loser in range(losers)]
    pairs = pairs or [(winner, -1) for winner in range(winners)]
    first, second = zip(*pairs, strict=True)
    ones = (1.0,) * len(pairs)
    return Group(lr_id, tuple(range(winners + losers)), first, second, ones, ones)


def test_passes_of_the_data_are_those_of_the_candidates_in_use() -> None:
    # 10 LR images x 8 candidates x (6 sampler steps, 2 rewarded metrics); M = 4 of them take half.
    assert before_training(settings(), 10) == Passes(480, 160, 0)
    assert before_training(settings(pair={"candidates": 4, "top": 2}), 10) == Passes(240, 80, 0)


def test_rewards_with_a_gradient_take_no_candidates_and_three_passes_an_image() -> None:
    rewarded = settings(train={"source": "bird_sr"})
    assert before_training(rewarded, 10) == Passes(0, 0, 0)
    groups = {name: group(name, 2, 2) for name in ("a", "b")}
    # 2 images a step, each through the policy and two metrics: 4 whole steps in 27 passes
    assert steps_within(rewarded, groups, Passes(0, 0, 0), 27) == (4, Passes(0, 0, 24))


def test_roll_outs_their_scores_and_each_pass_of_their_steps_are_counted() -> None:
    """2 groups of 4 candidates, 2 gradient steps a roll-out: PRDP in 3 steps of which 2 draw, NFT in the model's 6."""
    rolled = {"candidates": 4, "inner_steps": 2}
    prdp = settings(train={"source": {"kind": "prdp", "steps": 3} | rolled})
    nothing = before_training(prdp, 10)
    assert nothing == Passes(0, 0, 0)
    assert of_steps(prdp, {}, nothing, 1) == Passes(8 * 3, 8 * 2, 8 * 2 * 2)
    assert of_steps(prdp, {}, nothing, 3) == Passes(2 * 8 * 3, 2 * 8 * 2, 3 * 8 * 2 * 2)
    assert steps_within(prdp, {}, nothing, 72 + 32 + 71) == (2, Passes(24, 16, 64))
    nft = settings(train={"source": {"kind": "nft"} | rolled})
    assert of_steps(nft, {}, nothing, 2) == Passes(8 * 6, 8 * 2, 2 * 8 * 3)
    alone = settings(train={"source": {"kind": "nft", "reference_weight": 0.0} | rolled})
    assert of_steps(alone, {}, nothing, 2).training == 2 * 8 * 2


def test_guidance_doubles_the_candidates_passes() -> None:
    values = small_params()
    one = Settings.model_validate(values)
    guided = one.model_copy(update={"backbone": _Guided()})
    assert before_training(guided, 10).rollouts == 2 * 10 * 8 * 50


class _Guided:
    guidance_scale, steps = 3.5, 50


def test_a_group_that_shares_its_noise_takes_each_candidate_once_else_each_pair_both() -> None:
    together, apart = settings().train, settings(train={"noise_shared_by": "pair"}).train
    some = settings(train={"noise_shared_by": "pair", "pairs_per_group": 3}).train
    assert rows(group("a", 2, 2), together) == 4
    assert [rows(group("a", 2, 2), one) for one in (apart, some)] == [8, 6]
    assert [rows(group("a", 2, 0), one) for one in (apart, some)] == [2, 2]


def test_steps_are_the_most_that_the_budget_allows_and_their_passes_are_exact() -> None:
    groups = {name: group(name, 2, 2) for name in ("a", "b")} | {"c": group("c", 1, 1)}
    before = Passes(100, 20, 0)
    steps, passes = steps_within(settings(), groups, before, 160)
    assert passes.total <= 160
    assert of_steps(settings(), groups, before, steps) == passes
    assert of_steps(settings(), groups, before, steps + 1).total > 160
    # three steps of two groups are two epochs of (4 + 4 + 2) candidates, policy and reference
    assert of_steps(settings(), groups, before, 3).training == 2 * 2 * 10


def test_a_composition_with_half_the_rows_trains_twice_as_long() -> None:
    two, one = ({name: group(name, top, top) for name in "abcd"} for top in (2, 1))
    before = Passes(0, 0, 0)
    assert steps_within(settings(), one, before, 3200)[0] == 2 * steps_within(settings(), two, before, 3200)[0] == 400


def test_a_budget_that_leaves_no_step_is_refused() -> None:
    with pytest.raises(
        BadInput, match="130 passes leave no training: 100 go to the candidates, 20 to their scores, 16"
    ):
        steps_within(settings(), {"a": group("a", 2, 2)}, Passes(100, 20, 0), 130)
