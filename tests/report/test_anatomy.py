from components.report.anatomy import anatomy_lines
from components.report.comparison import control_table
from tests.evaluations import evaluation

TRAINING = {
    "policy_winner": [1.0, 1.1], "reference_winner": [1.0, 1.0],
    "policy_loser": [2.0, 2.4], "reference_loser": [2.0, 2.0],
}  # fmt: skip


def test_what_the_gain_is_made_of_in_sentences() -> None:
    found = {
        "halves": {"fr": 0.001, "nr": 0.012},
        "spread": {"base": 0.02, "aligned": 0.01},
        "reward_against": {"psnr": 0.3},
    }
    lines = anatomy_lines(evaluation(anatomy=found), TRAINING)
    assert "+0.0010 comes from the full-reference metrics and +0.0120" in lines[0]
    assert "0.0200 for the base and 0.0100 for the aligned model" in lines[1]
    assert lines[2].endswith("psnr +0.30.")
    assert "error on winners is +10.00% of the reference's" in lines[3]
    assert "error on losers is +20.00% of the reference's" in lines[4]


def test_what_is_not_known_is_not_said() -> None:
    """One seed an image has no spread; a reward of one half has no halves."""
    assert len(anatomy_lines(evaluation(), TRAINING)) == 2
    assert control_table(evaluation()) == []


def test_a_control_has_a_row_a_measure() -> None:
    figures = {
        "control": 0.5,
        "aligned": 0.52,
        "difference": 0.02,
        "ci_low": 0.01,
        "ci_high": 0.03,
        "verdict": "better",
    }
    control = {
        "value": 1.25,
        "validation_rewards": {"1": 0.4, "1.25": 0.5},
        "reward": figures,
        "metrics": {"psnr": figures},
        "win_rate": {"value": 0.6, "ci_low": 0.5, "ci_high": 0.7},
    }
    rows = control_table(evaluation(controls={"gain": control}))
    assert [(row.control, row.value, row.measure) for row in rows] == [("gain", "1.25", "reward"), ("", "", "psnr")]
    assert rows[0].interval == "+0.0100 … +0.0300"
