"""States of one process: an adapter's without the frozen branch, and FSDP2's on two processes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from components.train import processes
from tests.made import REPOSITORY
from tests.train.child import trainer_of, weights
from tests.train.rig import write_project


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


def test_fsdp2_is_one_process_and_either_continues_the_other(tmp_path: Path) -> None:
    """Weight decay, clipping, accumulation, validation and both moments, to the rounding of the sums' order."""
    write_project(tmp_path)
    straight = weights(trainer_of(tmp_path, "straight", 4).run())
    trainer_of(tmp_path, "begun_alone", 2).run()
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--module", "tests.train.child"]
    done = subprocess.run(
        [sys.executable, *command, str(tmp_path), "begun_together:2", "begun_alone:4"],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    together = torch.load(tmp_path / "begun_alone.pt")
    assert 0.4 < float(together.pop("share")) < 0.6
    alone = weights(trainer_of(tmp_path, "begun_together", 4).run())
    for found in (together, alone):
        assert found.keys() == straight.keys()
        assert max(float((found[name] - straight[name]).abs().max()) for name in straight) < 1e-10
