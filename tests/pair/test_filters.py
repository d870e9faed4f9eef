"""Strength of a preference, by hand: metrics as voters, in units of their tau."""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.errors import BadInput
from components.pair.filters import FILTERS, filtered
from components.pair.pairs import Pair
from components.rewards.group import GroupScores
from components.settings import FILTER_KINDS, StrengthFilter, TransportFilter
from tests.made import write_dataset
from tests.pair.test_stage import FR, NR, drawn, groups_and_pairs, run, settings, write_scores

SCORES = GroupScores(
    "a",
    (0, 4, 9),
    ("lpips-vgg", "musiq"),
    np.array([[0.0, -2.0, 2.0], [10.0, 30.0, 0.0]]),
    np.array([2.0, 10.0]),
)
"""Votes for 4 over 0: -1 and 2, mu .5, spread 1.5. For 9 over 0: 1 and -1, mu 0. For 0 over 4: mu -.5."""

FOR, AGAINST, SPLIT = Pair(4, 0, 0.25), Pair(0, 4, 0.125), Pair(9, 0, 0.5)


def by(pairs: list[Pair], **own: Any) -> list[Pair]:
    return filtered(SCORES, pairs, [StrengthFilter(**own)])


def test_without_anything_asked_pairs_stay_as_they_are() -> None:
    assert by([FOR, AGAINST, SPLIT]) == [FOR, AGAINST, SPLIT]
    known = Pair(4, 0, 0.25, margin=0.7, label_noise=0.2, target=0.1)
    assert by([known], drop_below=0.1) == [known]


def test_flip() -> None:
    assert by([FOR, AGAINST, SPLIT], flip_below=-0.4, margin_scale=2.0) == [
        Pair(4, 0, 0.25, margin=1.0),
        Pair(4, 0, -0.125, margin=1.0),
        Pair(9, 0, 0.5, margin=0.0),
    ]
    assert by([AGAINST], flip_below=-0.6)[0].winner == 0


def test_a_flip_turns_the_target_too() -> None:
    """Delta is the winner's calibrated reward less the loser's: for `capo` a pair and its turned one ask the same."""
    (turned,) = by([Pair(0, 4, 0.125, target=0.3)], flip_below=-0.4)
    assert turned == Pair(4, 0, -0.125, target=-0.3)


def test_no_filter_sees_a_group_without_pairs() -> None:
    with warnings.catch_warnings(action="error"):
        assert filtered(SCORES, [SPLIT], [StrengthFilter(drop_below=0.1), TransportFilter()]) == []


def test_drop_the_weak_and_the_disputed() -> None:
    assert [pair.winner for pair in by([FOR, AGAINST, SPLIT], drop_below=0.3)] == [4, 0]
    assert [pair.winner for pair in by([FOR, SPLIT], drop_spread=1.2)] == [9]
    assert by([FOR, SPLIT], drop_below=0.6) == []


def test_label_noise_of_the_weak_alone() -> None:
    expected = 0.5 - 0.5 * math.tanh(0.5)
    noises = [pair.label_noise for pair in by([FOR, AGAINST, SPLIT], soft_below=1.0)]
    assert noises == [pytest.approx(expected), pytest.approx(expected), 0.5]
    assert [pair.label_noise for pair in by([FOR, SPLIT], soft_below=0.2)] == [0.0, 0.5]


def test_margins_are_never_negative() -> None:
    assert [pair.margin for pair in by([FOR, AGAINST], margin_scale=3.0)] == [pytest.approx(1.5), 0.0]


def test_a_metric_that_never_varies_abstains() -> None:
    scores = GroupScores("a", (0, 1), ("psnr", "musiq"), np.array([[3.0, 3.0], [1.0, 2.0]]), np.array([0.0, 0.5]))
    (pair,) = filtered(scores, [Pair(1, 0, 0.5)], [StrengthFilter(margin_scale=1.0)])
    assert pair.margin == pytest.approx(1.0)  # mean of 0 and 2


def test_a_row_a_kind_of_the_settings() -> None:
    assert {kind: row.settings for kind, row in FILTERS.items()} == FILTER_KINDS


def test_through_the_stage(tmp_path: Path) -> None:
    """Flipped pairs are the scalariser's own, turned where the voters disagree with it; columns are filled."""
    ids = write_dataset(tmp_path, ["align"] * 3)
    write_scores(tmp_path, {lr_id: drawn(seed, FR + NR) for seed, lr_id in enumerate(ids)}, FR + NR)
    plain = settings(tmp_path, builder="random")
    run(plain, tmp_path)
    before = groups_and_pairs(tmp_path)[1]
    run(settings(tmp_path, builder="random", filters=[{"kind": "strength", "flip_below": -0.3}]), tmp_path)
    after = groups_and_pairs(tmp_path)[1]
    assert {frozenset((row["winner"], row["loser"])) for row in before} == {
        frozenset((row["winner"], row["loser"])) for row in after
    }
    turned = [new for old, new in zip(before, after, strict=True) if new["winner"] == old["loser"]]
    assert 0 < len(turned) < len(after)
    assert [row["gap"] for row in after] == [
        row["gap"] if new["winner"] == row["winner"] else -row["gap"] for row, new in zip(before, after, strict=True)
    ]
    assert all(row["margin"] is None and row["target"] is None for row in before)


def test_filters_that_leave_nothing_are_named(tmp_path: Path) -> None:
    ids = write_dataset(tmp_path, ["align"] * 2)
    write_scores(tmp_path, {lr_id: drawn(seed, FR + NR) for seed, lr_id in enumerate(ids)}, FR + NR)
    with pytest.raises(BadInput, match=r"2 whose pairs the filters dropped\); loosen pair\.filters"):
        run(settings(tmp_path, filters=[{"kind": "strength", "drop_below": 100.0}]), tmp_path)


def test_winners_alone_are_not_filtered(tmp_path: Path) -> None:
    alone = {"builder": "winners_only", "filters": ["strength"]}
    with pytest.raises(BadInput, match=r"pair\.filters strength compares a winner with a loser, .* has no losers"):
        settings(tmp_path, {"objective": "winners_only"}, **alone)
