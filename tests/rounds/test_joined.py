"""Curves and best of made rounds."""

from pathlib import Path

from components.artifacts.training import TrainingSummary
from components.rounds.joined import Round, best_of, joined, summary_of


def made(folder: Path, best: int, *validation: tuple[int, float, float]) -> Round:
    """A round of rows (step, reward, within_limits)."""
    (folder / "reports").mkdir(parents=True)
    lines = ["step,reward,within_limits", *(",".join(map(str, row)) for row in validation)]
    (folder / "reports/validation.csv").write_text("\n".join(lines) + "\n")
    reward = {step: value for step, value, _ in validation}
    TrainingSummary(
        reference_digest="d",
        steps=validation[-1][0],
        best_step=best,
        best_validation_reward=reward[best],
        base_validation_reward=validation[0][1],
        last_validation_reward=validation[-1][1],
    ).write(folder)
    return Round.read(folder)


def test_steps_are_counted_through(tmp_path: Path) -> None:
    rounds = [
        made(tmp_path / "1", 2, (0, 0.5, 1.0), (2, 0.6, 1.0), (3, 0.55, 1.0)),
        made(tmp_path / "2", 4, (0, 0.55, 1.0), (4, 0.7, 1.0)),
    ]
    assert joined(rounds, Path("reports/validation.csv")).splitlines() == [
        "step,reward,within_limits,round", "0,0.5,1.0,1", "2,0.6,1.0,1", "3,0.55,1.0,1", "7,0.7,1.0,2",
    ]  # fmt: skip
    summary = summary_of(rounds)
    assert (summary.steps, summary.best_step, summary.best_validation_reward) == (7, 7, 0.7)
    assert (summary.base_validation_reward, summary.last_validation_reward) == (0.5, 0.7)


def test_what_a_round_kept_beyond_the_limits_is_not_the_best(tmp_path: Path) -> None:
    """The second round begins beyond them, and never comes back."""
    rounds = [
        made(tmp_path / "1", 0, (0, 0.5, 1.0), (2, 0.9, 0.0)),
        made(tmp_path / "2", 0, (0, 0.9, 0.0), (2, 0.95, 0.0)),
    ]
    assert (best_of(rounds).round, best_of(rounds).reward) == (0, 0.5)
    assert summary_of(rounds).best_step == 0
