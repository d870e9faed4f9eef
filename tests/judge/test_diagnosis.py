"""Each way to lose a training is named, and a healthy one is left in peace."""

import math

import pytest

from components.judge.diagnosis import diagnose

HEALTHY = {
    "loss": 0.6, "accuracy": 0.7, "margin": 0.4, "policy_winner": 0.1, "reference_winner": 0.1,
    "policy_loser": 0.105, "reference_loser": 0.1,
}  # fmt: skip


def names(last: dict[str, float], validation: list[dict[str, float]] | None = None) -> list[str]:
    """Findings of a training that was healthy for four fifths of its steps."""
    return [finding.name for finding in diagnose([HEALTHY] * 40 + [HEALTHY | last] * 10, validation or [])]


def test_a_healthy_training_has_no_finding() -> None:
    assert names({}) == []
    assert names({"policy_winner": 0.09, "policy_loser": 0.12}) == []  # winners gain half of what losers lose


@pytest.mark.parametrize(
    ("last", "found"),
    [
        ({"policy_winner": 0.108}, ["winners' errors grow"]),
        ({"policy_loser": 0.13}, ["losers' errors grow"]),
        ({"policy_winner": 0.108, "policy_loser": 0.13}, ["winners' errors grow", "losers' errors grow"]),
        ({"margin": 25.0}, ["margins run away"]),
        ({"margin": -6.0}, ["dead gradient"]),
    ],
)
def test_what_the_last_steps_show_is_named(last: dict[str, float], found: list[str]) -> None:
    assert names(last) == found


@pytest.mark.parametrize("last", [{"policy_winner": 0.136}, {"policy_loser": 0.14}])
def test_growing_errors_that_no_restoration_shows_ask_for_no_change(last: dict[str, float]) -> None:
    training = [HEALTHY | last] * 10
    (told,) = {finding.change for finding in diagnose(training, [{"psnr": 21.54}, {"psnr": 21.50}])}
    assert told.startswith("the restorations do not show it (validation psnr -0.04 dB): change nothing as long as")
    (lost,) = {finding.change for finding in diagnose(training, [{"psnr": 21.54}, {"psnr": 21.40}])}
    (unknown,) = {finding.change for finding in diagnose(training, [{"reward": 0.5}, {"reward": 0.6}])}
    assert lost == unknown
    assert "change nothing" not in lost


def test_one_odd_step_is_no_finding() -> None:
    assert diagnose([HEALTHY] * 49 + [HEALTHY | {"margin": 20.0}]) == []


def test_pairs_are_memorised_where_the_held_out_ones_do_not_follow() -> None:
    start = {"pair_accuracy": 0.5, "held_out_pair_accuracy": 0.5}
    assert names({}, [start, {"pair_accuracy": 0.9, "held_out_pair_accuracy": 0.52}]) == ["memorised pairs"]
    assert names({}, [start, {"pair_accuracy": 0.9, "held_out_pair_accuracy": 0.7}]) == []
    assert names({}, [start]) == []
    assert names({}, [{"reward": 0.5}, {"reward": 0.6}]) == []


def test_winners_without_losers_have_no_number_of_losers_and_no_finding() -> None:
    rows = [HEALTHY | {"policy_loser": math.nan, "reference_loser": math.nan, "margin": 0.0}] * 10
    assert diagnose(rows) == []


def test_a_finding_says_what_is_seen_and_what_to_change() -> None:
    (one,) = diagnose([HEALTHY | {"margin": 25.0}])
    assert str(one).startswith("margins run away: mean z is 25.0; ")
    assert "train.margin_cap" in one.change
