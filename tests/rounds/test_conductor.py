"""Several rounds on a made project: what each trains on, what is published, and that a killed one gives the same."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from components.artifacts import tables
from components.artifacts.training import TrainingSummary
from components.backbones.base import candidate_seed
from components.backbones.tiny_flow import TinyFlow
from components.entry.main import run_stage
from components.errors import ExitCode
from components.pipeline.status import ROUND_NOTE
from tests.made import write_params
from tests.train.rig import COUNT, SHORT, TOP, write_project

STEPS = 4
CPU = torch.device("cpu")


def settings(root: Path, **train: Any) -> None:
    write_params(
        root,
        run={"threads": 1, "device": "cpu", "workers": 1},
        backbone={"path": "weights", "steps": 2},
        generate={"candidates": COUNT, "batch": COUNT},
        score={"fr": ["psnr"], "nr": [], "held_out": []},
        pair={"top": TOP},
        train=SHORT | {"steps": STEPS, "rounds": 2, "limits": {"psnr": 20.0}} | train,
    )


def new_project(root: Path, tiny_folder: Path, **train: Any) -> Path:
    root.mkdir(exist_ok=True)
    shutil.copytree(tiny_folder, root / "weights")
    write_project(root)
    settings(root, **train)
    return root


@pytest.fixture(scope="module", autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """Two rounds without any disturbance."""
    root = new_project(tmp_path_factory.mktemp("straight") / "project", tiny_folder)
    assert run_stage("train", root / "params.yaml") == ExitCode.OK
    return root


def outputs(root: Path) -> dict[str, bytes]:
    models = sorted(path for path in (root / "models/aligned").rglob("*") if path.is_file())
    files = [*models, root / "reports/training.csv", root / "reports/validation.csv"]
    return {str(file.relative_to(root)): file.read_bytes() for file in files}


def rows(root: Path, name: str) -> list[dict[str, float]]:
    with (root / f"reports/{name}.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def model(folder: Path) -> str:
    return TinyFlow.load(folder, 2, CPU).digest("policy")


def test_the_second_round_samples_from_the_first_ones_policy(straight: Path) -> None:
    first, second = (straight / "cache/rounds" / number for number in "12")
    made = tables.read_rows(second / "data/candidates.parquet", tables.CANDIDATES)
    assert {row["model_digest"] for row in made} == {model(first / "models/aligned/last")}
    assert all(row["seed"] == candidate_seed(row["lr_id"], row["index"], 2) for row in made)
    before = {candidate_seed(row["lr_id"], row["index"]) for row in made}
    assert len(before | {row["seed"] for row in made}) == 2 * len(made) == 12 * COUNT
    pairs = tables.read_rows(second / "data/pairs.parquet", tables.PAIRS)
    assert len(pairs) == 6 * TOP**2
    base = model(straight / "weights")
    for folder in (first, second):
        assert TrainingSummary.read(folder).reference_digest == base


def test_the_second_round_goes_on_with_the_first_ones_policy(straight: Path) -> None:
    """Its first validation is of that policy, though its reference is the base."""
    first, second = (rows(straight / "cache/rounds" / number, "validation") for number in "12")
    assert second[0]["reward"] == first[-1]["reward"] != first[0]["reward"]
    training = rows(straight / "cache/rounds/2", "training")
    assert training[0]["margin"] != 0.0
    assert rows(straight / "cache/rounds/1", "training")[0]["margin"] == 0.0


def test_what_is_published_is_of_all_rounds(straight: Path) -> None:
    assert [(row["step"], row["round"]) for row in rows(straight, "training")] == [
        (step, 1.0 if step <= STEPS else 2.0) for step in range(1, 2 * STEPS + 1)
    ]
    validation = rows(straight, "validation")
    assert [row["step"] for row in validation] == [0, 2, 4, 6, 8]
    summary = TrainingSummary.read(straight)
    best = max(validation, key=lambda row: row["reward"])
    assert (summary.steps, summary.best_step) == (2 * STEPS, best["step"])
    assert summary.best_validation_reward == best["reward"]
    assert summary.base_validation_reward == validation[0]["reward"]
    assert summary.last_validation_reward == validation[-1]["reward"]
    last = straight / "cache/rounds/2/models/aligned/last"
    assert model(straight / "models/aligned/last") == model(last)
    kept = straight / f"cache/rounds/{2 if best['step'] > STEPS else 1}/models/aligned/best"
    assert model(straight / "models/aligned/best") == model(kept)
    assert not (straight / ROUND_NOTE).exists()


def test_one_round_is_the_stage_as_it_is(straight: Path, tmp_path: Path, tiny_folder: Path) -> None:
    """And the first of several is the same training, whose checkpoints count."""
    root = new_project(tmp_path / "project", tiny_folder, rounds=1)
    assert run_stage("train", root / "params.yaml") == ExitCode.OK
    assert outputs(root) == outputs(straight / "cache/rounds/1")
    assert not (root / "cache/rounds").exists()
    shared = {path.name for path in (root / "cache/train").iterdir()}
    assert shared < {path.name for path in (straight / "cache/train").iterdir()}


@pytest.mark.slow
def test_killed_in_the_second_round_it_gives_the_same_bytes(straight: Path, tmp_path: Path, tiny_folder: Path) -> None:
    root = new_project(tmp_path / "project", tiny_folder)
    (root / ".dvc/tmp").mkdir(parents=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "components.train", "--params", str(root / "params.yaml")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 300
    note = root / ROUND_NOTE

    def doing() -> str:
        try:
            return note.read_text()
        except FileNotFoundError:
            return ""

    while "round 2 of 2: training" not in doing() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (root / "models/aligned").exists()
    assert "round 2 of 2: training" in doing()  # left behind, by a process that is no more
    assert run_stage("train", root / "params.yaml") == ExitCode.OK
    assert outputs(root) == outputs(straight)
    assert not (root / ROUND_NOTE).exists()


@pytest.mark.parametrize(
    ("environment", "shard", "text"),
    [({"WORLD_SIZE": "2"}, None, "in one process"), ({}, "0/2", "without --shard")],
)
def test_several_processes_are_refused(
    straight: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environment: dict[str, str],
    shard: str | None, text: str,
) -> None:  # fmt: skip
    from components.artifacts.shards import Shard  # noqa: PLC0415

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    part = None if shard is None else Shard.parse(shard)
    assert run_stage("train", straight / "params.yaml", part) == ExitCode.BAD_INPUT
    assert text in capsys.readouterr().err
