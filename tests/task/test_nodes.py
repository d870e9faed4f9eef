"""Training on several nodes, each a task of its own as a pod has it, here on the loopback."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from components.entry.main import run_stage
from components.errors import BadInput, ExitCode
from components.stages.invocation import Invocation
from components.storage.store import Store
from components.task.child import command
from components.task.document import Result, Task, read_result
from components.task.nodes import Node, node_here
from components.train.torchrun import exit_code
from tests.made import REPOSITORY, write_params
from tests.task.test_run import task_of, url
from tests.train.rig import SHORT, TOP, write_project

pytestmark = pytest.mark.slow

CHECKPOINT, STEPS = 4, 24
INPUTS = ["data/dataset", "data/dataset.parquet", "data/candidates", "data/candidates.parquet", "data/pairs.parquet",
          "weights"]  # fmt: skip
OUTPUTS = ["models/aligned", "reports/training.csv", "reports/validation.csv", "reports/throughput.csv"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(tiny_folder, root / "weights")
    write_project(root)
    return root


def training(root: Path, store: Store, **train: object) -> Task:
    write_params(
        root,
        run={"threads": 1, "device": "cpu"},
        backbone={"path": "weights", "steps": 2},
        score={"fr": ["psnr"], "nr": [], "held_out": []},
        pair={"top": TOP},
        train=SHORT
        | {"steps": STEPS, "micro_batch": 1, "validate_every": STEPS, "checkpoint_every": CHECKPOINT}
        | train,
    )
    return task_of(root, store, "train", INPUTS, OUTPUTS)


class Nodes:
    """Processes as the pods of one Job would have them: the same command line, another number."""

    def __init__(self, task: Task, store: Store, folder: Path, count: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            first = f"127.0.0.1:{free.getsockname()[1]}"
        line = [sys.executable, "-m", "components.train", "--task", url(store, task), "--log", "runs/1/logs/train.log"]
        self.logs, self.processes = [], []
        for number in range(count):
            environment = os.environ | {
                "PYTHONPATH": str(REPOSITORY),
                "OMP_NUM_THREADS": "1",
                "TQDM_MININTERVAL": "0",
                "DP2O_WORKSPACE": str(folder / f"workspace-{number}"),
                "DP2O_NODES": str(count),
                "DP2O_NODE": str(number),
                "DP2O_FIRST_NODE": first,
            }
            self.logs.append(folder / f"node-{number}.log")
            with self.logs[-1].open("a") as log:
                process = subprocess.Popen(line, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
            self.processes.append(process)

    def codes(self) -> list[int]:
        return [process.wait(240) for process in self.processes]

    def kill(self, number: int) -> None:
        """As a node that loses its power: all of it at once."""
        pod = psutil.Process(self.processes[number].pid)
        for process in [pod, *pod.children(recursive=True)]:
            process.kill()

    def wait_for_step(self, step: int) -> None:
        """Until it is done, and the one before published, if it is one that is."""
        deadline = time.monotonic() + 240
        done = 0
        while done < step:
            said = self.logs[0].read_text()
            done = max((int(number) for number in re.findall(rf"(\d+)/{STEPS} \[", said)), default=0)
            assert time.monotonic() < deadline, said[-3000:]
            assert all(process.poll() is None for process in self.processes), said[-3000:]
            time.sleep(0.01)


def weights(result: Result | None, store: Store, folder: Path) -> dict[str, torch.Tensor]:
    assert result is not None
    store.fetch(result.contents()["models/aligned/last/model.safetensors"], folder / "model.safetensors")
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def alone(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Weights that one process comes to."""
    root = tmp_path_factory.mktemp("alone") / "project"
    shutil.copytree(project, root)
    training(root, Store(f"file://{root / 'store'}"))
    assert run_stage("train", root / "params.yaml") == ExitCode.OK
    return load_file(root / "models/aligned/last/model.safetensors")


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert max(float((found[name] - expected[name]).abs().max()) for name in expected) < 1e-4


def test_two_nodes_give_the_result_of_one_process_whatever_happens_on_the_way(
    project: Path, alone: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """One of them is asked to stop, then the first is lost, then the second; each time all are started anew."""
    store = Store(f"file://{tmp_path / 'store'}")
    # How often state is saved is none of the training's identity: the runs after this one go on with its progress.
    rarely = training(project, store, checkpoint_every=1000)
    nodes = Nodes(rarely, store, tmp_path, 2)
    nodes.wait_for_step(3)
    nodes.processes[1].send_signal(signal.SIGTERM)
    assert nodes.codes() == [ExitCode.RESUME] * 2
    task = training(project, store)
    for lost, step in ((0, 2 * CHECKPOINT + 1), (1, 3 * CHECKPOINT + 1)):
        nodes = Nodes(task, store, tmp_path, 2)
        nodes.wait_for_step(step)
        nodes.kill(lost)
        codes = nodes.codes()
        assert codes[lost] == -signal.SIGKILL
        assert codes[1 - lost] == ExitCode.CRASHED
        assert read_result(store, task, task.invocation()) is None
    nodes = Nodes(task, store, tmp_path, 2)
    assert nodes.codes() == [ExitCode.OK] * 2, nodes.logs[0].read_text()[-3000:]
    for (
        log
    ) in nodes.logs:  # both from the same step: where the signal came, then no more lost than since the checkpoint
        stopped, *later = (int(step) for step in re.findall(r"continuing after step (\d+)", log.read_text()))
        assert stopped >= 3  # there was no other checkpoint than the signal's
        assert later[0] >= 2 * CHECKPOINT
        assert later[1] >= 3 * CHECKPOINT
        assert len(later) == 2

    result = read_result(store, task, task.invocation())
    assert_close(weights(result, store, tmp_path), alone)
    start = load_file(project / "weights/model.safetensors")
    assert max(float((alone[name] - start[name]).abs().max()) for name in start) > 5e-3  # far more than the rounding
    assert result is not None
    assert "reports/training.csv" in result.outputs
    assert "files made" in nodes.logs[0].read_text()
    assert "files made" not in nodes.logs[1].read_text()  # the first keeps them
    kept = sorted(path.name for path in (tmp_path / "store/dp2o/runs/1/logs").iterdir())
    assert kept == ["train-node1.log", "train.log"]
    again = Nodes(task, store, tmp_path, 2)  # a Job that was started again after its result was written
    assert again.codes() == [ExitCode.OK] * 2
    assert "made before" in again.logs[1].read_text()


def test_bad_input_is_told_by_its_exit_code(project: Path, tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path / 'store'}")
    task = training(project, store, groups_per_step=3)
    nodes = Nodes(task, store, tmp_path, 2)
    assert nodes.codes() == [ExitCode.BAD_INPUT] * 2
    assert "times 2 processes" in nodes.logs[0].read_text()


def test_of_several_exit_codes_the_one_that_says_why_counts() -> None:
    assert exit_code([1, 2]) == 2
    assert exit_code([-9, 1]) == 137
    assert exit_code([1, -9]) == 1  # torchrun killed the other
    assert exit_code([1, 75]) == 1
    assert exit_code([75, 75]) == 75


def test_torchrun_is_told_where_the_nodes_meet(project: Path) -> None:
    params = (project / "params.yaml").read_text()
    invocation = Invocation("train", task="url", processes=8)
    line = command(invocation, params, "x", node=Node(1, 4, "job-0.dp2o-train:29500"))
    assert line[3:10] == [
        "components.train.torchrun",
        "--nnodes=4",
        "--node-rank=1",
        "--master-addr=job-0.dp2o-train",
        "--master-port=29500",
        "--rdzv-conf=timeout=7200",
        "--nproc-per-node=8",
    ]


@pytest.mark.parametrize(
    ("count", "number", "first"), [("2", "", "h:1"), ("2", "2", "h:1"), ("2", "0", "h"), ("two", "0", "h:1")]
)
def test_a_node_that_does_not_know_its_place_is_refused(count: str, number: str, first: str) -> None:
    with pytest.raises(BadInput, match="train on one node there"):
        node_here({"DP2O_NODES": count, "DP2O_NODE": number, "DP2O_FIRST_NODE": first})


def test_a_machine_that_works_alone() -> None:
    assert node_here({}) is None
    assert node_here({"DP2O_NODES": "1", "DP2O_NODE": "0", "DP2O_FIRST_NODE": "h:1"}) is None
    assert node_here({"DP2O_NODES": "2", "DP2O_NODE": "1", "DP2O_FIRST_NODE": "h:1"}) == Node(1, 2, "h:1")
