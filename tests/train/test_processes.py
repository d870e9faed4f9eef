"""States of one process: an adapter's without the frozen branch, and FSDP2's on two processes."""

import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from components.errors import BadInput, ResumeLater
from components.train import processes
from tests.made import REPOSITORY
from tests.train.child import trainer_of, weights
from tests.train.rig import write_project

pytestmark = pytest.mark.slow


def adapted() -> nn.Sequential:
    """A frozen layer with one that trains."""
    torch.manual_seed(0)
    branch = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    branch[0].requires_grad_(False)
    return branch


def test_what_is_frozen_is_not_kept() -> None:
    accelerator, policy = Accelerator(cpu=True), adapted()
    state = processes.policy_state(accelerator, policy)
    assert list(processes.trainable(policy)) == ["1.weight", "1.bias", "2.weight", "2.bias"]
    assert set(state) == {name for name in policy.state_dict() if not name.startswith("0.")}  # buffers are kept
    other = adapted()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    processes.load_policy_state(other, state)
    assert torch.equal(other[2].weight, policy[2].weight)
    assert not other[0].weight.any()


@pytest.mark.parametrize("change", [{"3.weight": torch.zeros(1)}, {"2.bias": None}])
def test_a_state_of_another_policy_is_noticed(change: dict[str, torch.Tensor | None]) -> None:
    policy = adapted()
    state = processes.policy_state(Accelerator(cpu=True), policy) | change
    (name,) = change
    with pytest.raises(RuntimeError, match=f"of another policy: 1 tensors differ, first .'{name}'"):
        processes.load_policy_state(policy, {key: tensor for key, tensor in state.items() if tensor is not None})


def test_two_processes_are_one_and_either_continues_the_other(tmp_path: Path) -> None:
    """Weight decay, clipping, accumulation, shared validation and both moments, to the rounding of the sums' order.

    In float64: a training amplifies rounding, and Adam makes whole steps of a gradient that is nothing but rounding.
    Errors of 1e-16 of a gradient of 400 may thus be 1e-13 of it, and 1e-10 leaves room for the steps.
    """
    write_project(tmp_path)
    whole = trainer_of(tmp_path, "straight", 4).run()
    trainer_of(tmp_path, "begun_alone", 2).run()
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--module", "tests.train.child"]
    done = subprocess.run(
        [sys.executable, *command, str(tmp_path), "begun_together:2", "begun_alone:4", "reduced:0"],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr  # whole: the one that failed first is told first
    together, reduced = (torch.load(tmp_path / f"{name}.pt") for name in ("begun_alone", "reduced"))
    assert 0.4 < together["share"] < 0.6
    straight = weights(whole)
    alone = weights(trainer_of(tmp_path, "begun_together", 4).run())
    for found in (together["weights"], alone):
        assert found.keys() == straight.keys()
        assert max(float((found[name] - straight[name]).abs().max()) for name in straight) < 1e-10
    for theirs, ours in zip(together["validation"], whole.validation, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-10)
    assert len({row["reward"] for row in whole.validation}) > 1

    # In bfloat16 the policy still rounds as its reference does: the margin of every pair is 0, exactly.
    (row,) = reduced["log"]
    assert row["margin"] == 0.0
    assert (row["policy_winner"], row["policy_loser"]) == (row["reference_winner"], row["reference_loser"])


class Pair:
    """Two processes, of which this is one, and what both would say."""

    num_processes = 2

    def __init__(self, rank: int) -> None:
        self.process_index = rank


def test_work_is_dealt_evenly_and_comes_back_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    monkeypatch.setattr(processes, "gather_object", lambda mine: said.append(mine[0]) or mine)
    seen: list[list[str]] = []

    def work(items: Sequence[str]) -> list[str]:
        seen.append(list(items))
        return [item.upper() for item in items]

    for rank in (0, 1):
        with pytest.raises(KeyError):  # the other's half is missing
            processes.share(Pair(rank), ["a", "b", "c"], work)  # type: ignore[arg-type]
    assert seen == [["a", "c"], ["b", "c"]]
    monkeypatch.setattr(processes, "gather_object", lambda mine: said)
    assert processes.share(Pair(1), ["a", "b", "c"], work) == ["A", "B", "C"]  # type: ignore[arg-type]


def test_bad_input_of_one_process_is_told_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(items: Sequence[str]) -> list[str]:
        raise BadInput("no score")

    monkeypatch.setattr(processes, "gather_object", lambda mine: [[(0, "A")], *mine])
    with pytest.raises(BadInput, match="no score"):
        processes.share(Pair(1), ["a", "b"], fail)  # type: ignore[arg-type]
    monkeypatch.setattr(processes, "gather_object", lambda mine: ["theirs", *mine])
    with pytest.raises(BadInput, match="theirs"):
        processes.share(Pair(1), ["a", "b"], list)  # type: ignore[arg-type]


def test_processes_that_found_different_checkpoints_do_not_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "gather_object", lambda mine: [4, *mine])
    processes.require_same_step(Pair(1), 4)  # type: ignore[arg-type]
    with pytest.raises(ResumeLater, match=r"different steps, \[4, 2\].*run.shared_cache a store"):
        processes.require_same_step(Pair(1), 2)  # type: ignore[arg-type]


def test_processes_wait_for_one_another_longer_than_a_model_takes_to_load(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    class Noting:
        is_fsdp2 = False

        def __init__(self, **options: Any) -> None:
            given.append(options)

    monkeypatch.setattr(processes, "Accelerator", Noting)
    processes.start(torch.device("cpu"), "bf16")
    (options,) = given
    assert (options["mixed_precision"], options["cpu"]) == ("bf16", True)
    assert options["kwargs_handlers"][0].timeout == processes.PATIENCE > timedelta(hours=1)
