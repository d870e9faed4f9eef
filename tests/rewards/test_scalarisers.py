"""The scalarisers: the method's reward with its weights, and win rates."""

import math

import numpy as np
import pytest

from components.errors import BadInput
from components.rewards.group import GroupScores, aligned, deviations, group_rewards, win_rates
from components.rewards.scalarisers import SCALARISERS, Scalariser, rewards_of
from components.settings import (
    SCALARISER_KINDS,
    MinMaxScalariser,
    PooledScalariser,
    ScalariserSettings,
    WinRateScalariser,
)
from tests.rewards.test_rewards import GROUP


def group(**raw: np.ndarray) -> GroupScores:
    scores = {name.replace("_vgg", "-vgg"): values for name, values in raw.items()}
    tau = deviations([scores])
    count = len(next(iter(scores.values())))
    return GroupScores("a", tuple(range(count)), tuple(scores), aligned(scores), np.array([tau[n] for n in scores]))


GOLDEN = group(**{name.replace("-", "_"): values for name, values in GROUP.items()})


def test_min_max_is_the_methods_reward_to_the_last_bit() -> None:
    np.testing.assert_array_equal(rewards_of(GOLDEN, MinMaxScalariser()), group_rewards(GROUP))
    np.testing.assert_allclose(rewards_of(GOLDEN, MinMaxScalariser()), [0.694444, 0.85, 0.688889, 0.0], atol=5e-7)


def test_the_sides_weights() -> None:
    """Both NR metrics of the golden group give (.5, 1, .75, 0)."""
    fidelity = rewards_of(GOLDEN, MinMaxScalariser(fidelity=1.0, realism=0.0))
    realism = rewards_of(GOLDEN, MinMaxScalariser(fidelity=0.0, realism=2.0))
    np.testing.assert_allclose(realism, [0.5, 1.0, 0.75, 0.0])
    np.testing.assert_allclose((fidelity + realism) / 2, rewards_of(GOLDEN, MinMaxScalariser()))
    third = rewards_of(GOLDEN, MinMaxScalariser(fidelity=1.0, realism=2.0))
    np.testing.assert_allclose(third, (fidelity + 2 * realism) / 3)


def test_win_rates_of_two_by_hand() -> None:
    """Two candidates one tau apart: sigmoid(1) and sigmoid(-1); a constant metric is a coin toss."""
    rates = win_rates(np.array([[3.0, 1.0], [5.0, 5.0]]), np.array([2.0, 0.0]))
    np.testing.assert_allclose(rates, [[1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1))], [0.5, 0.5]])


def test_win_rates_are_one_half_on_average_and_keep_the_order() -> None:
    values = np.random.default_rng(0).normal(size=(4, 9)) * [[1], [100], [0.01], [1]]
    rates = win_rates(values, values.std(axis=1))
    np.testing.assert_allclose(rates.mean(axis=1), 0.5)
    assert (np.argsort(rates, axis=1) == np.argsort(values, axis=1)).all()
    extreme = win_rates(np.array([[0.0, 1e6]]), np.array([1e-3]))
    np.testing.assert_array_equal(extreme, [[0.0, 1.0]])


def test_win_rates_tell_a_spread_group_from_a_narrow_one_where_min_max_cannot() -> None:
    wide, narrow = np.array([0.0, 2.0, 4.0]), np.array([0.0, 0.02, 0.04])
    tau = deviations([{"musiq": wide}, {"musiq": narrow}])
    groups = [
        GroupScores("a", (0, 1, 2), ("musiq",), values[None], np.array([tau["musiq"]])) for values in (wide, narrow)
    ]
    stretched = [rewards_of(one, MinMaxScalariser()).std() for one in groups]
    rates = [rewards_of(one, WinRateScalariser()).std() for one in groups]
    assert stretched[0] == pytest.approx(stretched[1])
    assert rates[0] > 20 * rates[1]


def test_tau_is_the_spread_within_groups_not_between_them() -> None:
    """Squares 1, 1 in a group around 0 and 4, 4 in one around 100: their mean is 2.5."""
    tau = deviations(
        [{"musiq": np.array([-1.0, 1.0])}, {"musiq": np.array([98.0, 102.0]), "niqe": np.array([1.0, 1.0])}]
    )
    assert tau == {"musiq": pytest.approx(math.sqrt(2.5)), "niqe": 0.0}


def test_a_row_a_kind_of_the_settings() -> None:
    assert {kind: row.settings for kind, row in SCALARISERS.items()} == SCALARISER_KINDS


@pytest.mark.parametrize("rewards", [np.array([1.0]), np.array([1.0, np.nan, 0.0, 0.0])])
def test_rewards_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch, rewards: np.ndarray) -> None:
    monkeypatch.setitem(SCALARISERS, "own", Scalariser(ScalariserSettings, lambda scores, settings: rewards))
    with pytest.raises(BadInput, match=r"pair\.scalariser own gave no finite number for each of the 4 candidates of a"):
        rewards_of(GOLDEN, ScalariserSettings(kind="own"))


def test_pooled_rewards_by_hand() -> None:
    """tau 2, six of which span 0 to 1: a candidate 6 above the group's mean has 1; a constant metric says 1/2."""
    scores = GroupScores(
        "a", (0, 1, 2), ("psnr", "musiq"), np.array([[6.0, -6.0, 0.0], [5.0, 5.0, 5.0]]), np.array([2.0, 0.0])
    )
    np.testing.assert_allclose(rewards_of(scores, PooledScalariser()), [0.75, 0.25, 0.5])
    np.testing.assert_allclose(rewards_of(scores, PooledScalariser(realism=0.0)), [1.0, 0.0, 0.5])
    np.testing.assert_allclose(rewards_of(scores, PooledScalariser(realism=0.0, width=12.0)), [0.75, 0.25, 0.5])


def test_pooled_rewards_keep_how_far_groups_are_spread_where_min_max_cannot() -> None:
    wide, narrow = np.array([0.0, 2.0, 4.0]), np.array([0.0, 0.02, 0.04])
    tau = deviations([{"musiq": wide}, {"musiq": narrow}])
    groups = [
        GroupScores("a", (0, 1, 2), ("musiq",), values[None], np.array([tau["musiq"]])) for values in (wide, narrow)
    ]
    pooled = [float(rewards_of(one, PooledScalariser()).std()) for one in groups]
    assert pooled[0] == pytest.approx(100 * pooled[1])
    assert len({round(float(rewards_of(one, MinMaxScalariser()).std()), 9) for one in groups}) == 1
