"""A training that ends where its winners' error rises."""

import logging
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from components.artifacts import paths
from components.artifacts.training import TrainingSummary
from components.errors import ResumeLater
from components.judge.diagnosis import STOP_STEPS, stopped
from components.train.checkpoints import TrainingState
from components.train.stage import write_curves
from tests.train.rig import trainer
from tests.train.test_trainer import flat, stop_at, without_speed

RISING: dict[str, Any] = {"steps": 24, "learning_rate": 5e-3, "beta": 5000.0, "validate_every": 7}
"""A learning rate at which the winners' error rises within some steps."""


@pytest.fixture(scope="module")
def free(project: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingState:
    """The same training that nothing stops."""
    return trainer(project, str(tmp_path_factory.mktemp("free")), **RISING).run()


@pytest.fixture(scope="module")
def limit(free: TrainingState) -> float:
    """Half of the most that ten steps of it rise by."""
    windows = [free.log[end - STOP_STEPS : end] for end in range(STOP_STEPS, 25)]
    most = max(sum(r["policy_winner"] for r in w) / sum(r["reference_winner"] for r in w) - 1.0 for w in windows)
    assert most > 0.0
    return most / 2.0


def row(step: int, winner: float) -> dict[str, float]:
    return {"step": step, "policy_winner": winner, "reference_winner": 0.5}


def test_the_verdict_is_of_ten_steps_together() -> None:
    healthy, worse = [row(n, 0.5) for n in range(1, 21)], [row(n, 0.625) for n in range(21, 31)]
    assert stopped([*healthy, *worse], 0.125) is not None
    assert stopped([*healthy, *worse], 0.25) is None  # .25 is not above .25
    assert stopped([*healthy, *worse], 0.0) is None
    assert stopped([*healthy, *worse[:5]], 0.13) is None  # half of the ten steps, so .125
    assert stopped([*healthy, *worse[:5]], 0.12) is not None
    assert stopped(worse[:9], 0.125) is None  # too few
    assert stopped([], 0.125) is None
    assert stopped([{"step": n, "loss": 1.0} for n in range(20)], 0.125) is None  # an objective without winners
    text = str(stopped([*healthy, *worse], 0.125))
    assert text.startswith(
        "stopped by its winners' error: after step 30 the policy's error on winners, over 10 steps, "
    )
    assert "was 25.0% above the reference's, train.winner_stop is 0.125; set train.safeguard: 0.9" in text


def test_it_ends_where_the_rule_says_and_says_so(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, free: TrainingState, limit: float
) -> None:
    first = next(n for n in range(1, 25) if stopped(free.log[:n], limit))
    assert STOP_STEPS <= first < 24
    assert free.step == 24
    held = trainer(project, str(tmp_path / "held"), winner_stop=limit, **RISING).run()
    assert held.step == first
    assert without_speed(held) == without_speed(free)[:first]
    assert held.validation[-1]["step"] == first
    saved = sorted(path.name for path in (tmp_path / "held").iterdir())
    assert saved[-1] == f"step-{first:07d}"

    with caplog.at_level(logging.WARNING, "dp2o.train"):
        write_curves(held, tmp_path, "digest", limit)
    assert f"stopped by its winners' error: after step {first} " in caplog.text
    assert TrainingSummary.read(tmp_path).steps == first
    assert len((tmp_path / paths.TRAINING_CURVE).read_text().splitlines()) == first + 1

    again = trainer(
        project, str(tmp_path / "held"), validate=lambda: pytest.fail("validated again"), winner_stop=limit, **RISING
    ).run()
    assert again.step == first


def test_a_run_that_was_interrupted_stops_at_the_same_step(project: Path, tmp_path: Path, limit: float) -> None:
    plan = RISING | {"winner_stop": limit}
    straight = trainer(project, str(tmp_path / "straight"), **plan).run()
    with pytest.raises(ResumeLater):
        trainer(project, str(tmp_path / "stopped"), validate=stop_at(2, signal.SIGTERM), **plan).run()
    resumed = trainer(project, str(tmp_path / "stopped"), **plan).run()
    assert resumed.step == straight.step < 24
    assert torch.equal(flat(resumed.policy), flat(straight.policy))
