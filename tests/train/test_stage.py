"""`python -m components.train` on a made project: killed, stopped, on two processes, and what it publishes."""

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
from components.artifacts.shards import Shard
from components.artifacts.training import TrainingSummary
from components.backbones.tiny_flow import TinyFlow
from components.entry.main import run_stage
from components.errors import BadInput, ExitCode
from components.settings import Settings
from components.train.stage import run
from tests.made import tiny_model, write_dataset, write_params
from tests.train.rig import SHORT, TOP, write_project

pytestmark = pytest.mark.slow

STEPS = 12
CPU = torch.device("cpu")


def settings(root: Path, **train: Any) -> Settings:
    plan = SHORT | {"steps": STEPS, "checkpoint_every": 2, "validate_every": 4} | train
    return write_params(
        root,
        run={"threads": 1, "device": "cpu"},
        backbone={"path": "weights", "steps": 2},
        score={"fr": ["psnr"], "nr": [], "held_out": []},
        pair={"top": TOP},
        train=plan,
    )


def new_project(root: Path, tiny_folder: Path, **train: Any) -> Path:
    root.mkdir(exist_ok=True)
    shutil.copytree(tiny_folder, root / "weights")
    write_project(root)
    settings(root, **train)
    return root


@pytest.fixture
def project(tmp_path: Path, tiny_folder: Path) -> Path:
    return new_project(tmp_path / "project", tiny_folder)


@pytest.fixture(scope="module", autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A project trained without any disturbance."""
    root = new_project(tmp_path_factory.mktemp("straight") / "project", tiny_folder)
    assert run_stage("train", root / "params.yaml") == ExitCode.OK
    return root


def outputs(root: Path) -> dict[str, bytes]:
    models = sorted(path for path in (root / "models/aligned").rglob("*") if path.is_file())
    files = [*models, root / "reports/training.csv", root / "reports/validation.csv"]
    return {str(file.relative_to(root)): file.read_bytes() for file in files}


def start(root: Path, *launcher: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, "components.train", "--params", str(root / "params.yaml")],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def steps_saved(root: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in (root / "cache").glob("train/*/step-*"))


def interrupt(root: Path, number: signal.Signals, after: int = 0) -> tuple[int, str]:
    """Start training, send the signal once there is a checkpoint later than step `after`; exit code and stderr."""
    process = start(root)
    deadline = time.monotonic() + 120
    while max(steps_saved(root), default=0) <= after and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    return process.returncode, error


def test_what_is_published(straight: Path) -> None:
    base = TinyFlow.load(straight / "weights", 2, CPU)
    last = TinyFlow.load(straight / "models/aligned/last", 2, CPU)
    best = TinyFlow.load(straight / "models/aligned/best", 2, CPU)
    assert last.digest("policy") != base.digest("policy")
    summary = TrainingSummary.read(straight)
    assert summary.reference_digest == base.digest("reference")
    assert summary.steps == STEPS
    validation = [line.split(",") for line in (straight / "reports/validation.csv").read_text().splitlines()]
    assert validation[0] == ["step", "reward", "psnr", "within_limits"]
    assert [int(row[0]) for row in validation[1:]] == list(range(0, STEPS + 1, 4))
    rewards = {int(row[0]): float(row[1]) for row in validation[1:]}
    assert summary.best_validation_reward == max(rewards.values()) == rewards[summary.best_step]
    assert (summary.base_validation_reward, summary.last_validation_reward) == (rewards[0], rewards[STEPS])
    assert (best.digest("policy") == last.digest("policy")) == (summary.best_step == STEPS)
    training = (straight / "reports/training.csv").read_text().splitlines()
    assert training[0] == (
        "step,loss,accuracy,margin,policy_winner,policy_loser,reference_winner,reference_loser,weight_std,"
        "gradient_norm,learning_rate"
    )
    assert len(training) == STEPS + 1
    assert (straight / "reports/throughput.csv").read_text().startswith("step,images_per_s\n1,")
    assert steps_saved(straight) == [STEPS - 2, STEPS]


def test_two_runs_give_the_same_bytes(straight: Path, project: Path) -> None:
    assert run_stage("train", project / "params.yaml") == ExitCode.OK
    assert outputs(project) == outputs(straight)


def test_a_stopped_and_then_killed_run_continues_to_the_same_bytes(straight: Path, project: Path) -> None:
    code, error = interrupt(project, signal.SIGTERM)
    assert code == 75 == int(ExitCode.RESUME)
    stopped = steps_saved(project)[-1]
    assert f"stopped after step {stopped} of {STEPS}; run it again to continue" in error
    assert not (project / "models").exists()

    code, error = interrupt(project, signal.SIGKILL, after=stopped)
    assert code == -signal.SIGKILL
    assert f"continuing after step {stopped}" in error
    assert stopped < steps_saved(project)[-1] < STEPS
    assert not (project / "models").exists()
    assert run_stage("train", project / "params.yaml") == ExitCode.OK
    assert outputs(project) == outputs(straight)


def test_two_processes_make_one_training(straight: Path, project: Path) -> None:
    """The stage as torchrun starts it; that the numbers are one process's is shown in float64 (test_processes.py).

    Here is float32, and only what no rounding has been amplified in: the numbers before the first step, and of it what
    is a mean of errors. Such a mean is of 3,072 squares a candidate, each right to a few of 6e-8, in whatever order.
    """
    process = start(project, "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")
    _, error = process.communicate(timeout=3600)
    assert process.returncode == 0, error
    assert outputs(project).keys() == outputs(straight).keys()
    # Three images over two processes: before the first step both have the same policy, and so the same numbers.
    curves = [(root / "reports/validation.csv").read_text().splitlines() for root in (straight, project)]
    assert curves[0][:2] == curves[1][:2]
    rows = [list(csv.DictReader((root / "reports/training.csv").open())) for root in (straight, project)]
    assert [row["step"] for row in rows[1]] == [row["step"] for row in rows[0]]
    first, second = rows[0][0], rows[1][0]
    errors = [f"{branch}_{side}" for branch in ("policy", "reference") for side in ("winner", "loser")]
    for name in ("loss", "weight_std", *errors):
        assert float(second[name]) == pytest.approx(float(first[name]), rel=1e-4), name
    # Two that each train for themselves, or on the same half, have another loss in the first step already.


def test_settings_that_do_not_change_the_result_keep_the_progress(project: Path) -> None:
    settings(project, steps=4)
    run_stage("train", project / "params.yaml")
    before = outputs(project)
    settings(project, steps=4, micro_batch=4, checkpoint_every=4)
    assert run_stage("train", project / "params.yaml") == ExitCode.OK
    assert outputs(project) == before
    assert len(list((project / "cache/train").iterdir())) == 1


@pytest.mark.parametrize("change", ["seed", "pairs", "weights", "metrics"])
def test_another_training_starts_anew(project: Path, change: str) -> None:
    chosen = settings(project, steps=2)
    run(chosen, project)
    before = (project / "reports/training.csv").read_bytes()
    if change == "seed":
        chosen = settings(project, steps=2, seed=1)
    elif change == "pairs":
        pairs = tables.read_rows(project / "data/pairs.parquet", tables.PAIRS)
        tables.write_rows(project / "data/pairs.parquet", tables.PAIRS, pairs[:-1])
    elif change == "weights":
        tiny_model(seed=1).save(project / "weights")
    else:
        chosen = chosen.model_copy(update={"score": chosen.score.model_copy(update={"fr": ["ssim"]})})
    run(chosen, project)
    assert len(list((project / "cache/train").iterdir())) == 2
    assert ((project / "reports/training.csv").read_bytes() == before) == (change == "metrics")


def test_images_without_hr_are_validated_by_lr_consistency(project: Path) -> None:
    write_dataset(project, ["align"] * 6 + ["validation"] * 3, has_hr=False)
    run(settings(project, steps=2), project)
    assert (project / "reports/validation.csv").read_text().startswith("step,reward,lr_consistency,within_limits\n")


def test_errors(project: Path) -> None:
    chosen = settings(project)
    with pytest.raises(BadInput, match="train cannot be sharded; for several processes use `torchrun "):
        run(chosen, project, Shard(0, 2))
    with pytest.raises(BadInput, match=r'precision fp16 needs a GPU.*set train.precision to "no" or bf16'):
        run(settings(project, precision="fp16"), project)
    write_dataset(project, ["align"] * 6)
    with pytest.raises(BadInput, match=r"the validation split of data/dataset\.parquet is empty"):
        run(chosen, project)
    (project / "data/pairs.parquet").unlink()
    with pytest.raises(BadInput, match=r"pairs\.parquet does not exist; run the stage that makes it"):
        run(chosen, project)
    assert not (project / "models").exists()
