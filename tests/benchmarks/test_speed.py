"""The program on tiny settings: what it writes, that ours and the peers compute the same; never how fast."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.parts import incremental, model
from benchmarks.parts.candidates import LR_ID, pipeline_call
from benchmarks.parts.pairs import group_step, public_step
from benchmarks.parts.project import CHECKOUT
from benchmarks.speed import main
from components.backbones.tiny_flow import TinyFlow, TinyFlowConfig
from components.errors import ExitCode
from components.generate.sampling import sample_candidates

SMALL = TinyFlowConfig(channels=(8, 8))


@pytest.fixture
def small() -> TinyFlow:
    torch.manual_seed(0)
    return TinyFlow.new(SMALL, 2, torch.device("cpu"))


@pytest.fixture
def folder(tmp_path: Path, small: TinyFlow) -> Path:
    path = tmp_path / "base"
    path.mkdir()
    small.save(path)
    return path


def test_comparisons_are_written(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "speed.json"
    sizes = "--rounds 1 --top 2 --peer-pairs 2 --candidates 2 --peer-candidates 1 --steps 1 --metrics psnr ssim"
    sizes += " --widths 16 16 16 16"
    arguments = [
        "--only",
        "pairs",
        "candidates",
        "controlnet",
        "scores",
        "--model",
        str(folder),
        "--json",
        str(out),
        *sizes.split(),
    ]
    assert main(arguments) == ExitCode.OK
    result = json.loads(out.read_text())
    assert set(result) == {"machine", "model", "pairs", "candidates", "controlnet", "scores"}
    assert set(result["machine"]["versions"]) == {"python", "torch", "diffusers", "pyiqa", "numpy"}
    assert [row["peer_name"] for row in result["pairs"]] == [
        "Diffusion-DPO, 1 pair a call",
        "Diffusion-DPO, 2 pairs a call",
    ]
    assert [row["name"] for row in result["scores"]] == ["score, psnr", "score, ssim", "score, all 2"]
    assert [row["target"] for row in result["scores"]] == [None, None, 3.0]
    assert [row["target"] for row in result["controlnet"]] == [1.5, None]
    for part in ("pairs", "candidates", "controlnet", "scores"):
        for row in result[part]:
            assert set(row) == {"name", "unit", "peer_name", "ours", "peer", "wall", "cpu", "target"}
            assert 0 < row["wall"]["low"] <= row["wall"]["median"] <= row["wall"]["high"]
    printed = capsys.readouterr().out
    assert "torch threads, float32" in printed
    assert "score, all 2" in printed


@pytest.mark.slow
def test_incremental_work_and_memory_are_written(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(incremental, "STAGES", ("generate",))  # score's processes take as long again
    out = tmp_path / "speed.json"
    sizes = "--lrs 2 --incremental-candidates 2 --steps 1 --memory-lrs 1 --candidates 2 --stages prepare"
    assert main(["--only", "incremental", "--model", str(folder), "--json", str(out), *sizes.split()]) == ExitCode.OK
    result = json.loads(out.read_text())["incremental"]
    assert {phase: (result[phase]["made"], result[phase]["found"]) for phase in ("full", "idle", "added")} == {
        "full": ({"generate": 4}, {"generate": 0}),
        "idle": ({"generate": 0}, {"generate": 4}),
        "added": ({"generate": 2}, {"generate": 4}),
    }
    assert result["full"]["lrs"] == 2
    assert result["added"]["lrs"] == 3
    assert {"fraction_wall", "fraction_cpu", "without_start_up", "target"} < set(result)
    assert main(["--only", "memory", "--model", str(folder), "--json", str(out), *sizes.split()]) == ExitCode.OK
    memory = json.loads(out.read_text())["memory"]
    assert memory["lrs"] == 1
    assert set(memory["peak_mb"]) == {"prepare"}
    assert memory["peak_mb"]["prepare"] > 20  # MiB: an interpreter with numpy is no smaller
    assert "prepare" in capsys.readouterr().out


def test_a_folder_without_model_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(tmp_path), "--only", "pairs"]) == ExitCode.BAD_INPUT
    assert "has no config.json" in capsys.readouterr().err


def test_a_metric_pyiqa_lacks_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "scores", "--metrics", "rank_effnet"]) == ExitCode.BAD_INPUT
    assert "nothing to compare" in capsys.readouterr().err


def test_the_stock_pipeline_makes_our_candidates(small: TinyFlow) -> None:
    _, lr, _ = model.group(CHECKOUT, 1)
    ours = sample_candidates(small, lr, "", LR_ID, range(3), 3, "none")
    theirs = [pipeline_call(small, small.reference, lr, index) for index in range(3)]
    differing = np.abs(np.stack([candidate.image for candidate in ours]).astype(int) - np.stack(theirs).astype(int))
    assert differing.max() <= 1  # a rounding of one grey level, where the memory layout changes the last bit
    assert differing.mean() < 1e-3


def test_both_steps_have_the_loss_and_the_gradient_of_dpo(small: TinyFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same t and noise for all, the pairs of a public batch are the group's."""
    _, lr, images = model.group(CHECKOUT, 4)
    condition = small.condition(lr, ("",))
    with torch.no_grad():
        for weight in small.policy.parameters():
            weight.mul_(0.9)
    gradients: list[torch.Tensor] = []
    first = next(small.policy.parameters())
    monkeypatch.setattr(nn.Module, "zero_grad", _collecting(first, gradients))
    noise = torch.randn(1, 3, model.SIDE, model.SIDE)
    monkeypatch.setattr(torch, "rand", lambda count: torch.full((count,), 0.4))
    monkeypatch.setattr(torch, "randn", lambda *shape: noise)
    monkeypatch.setattr(torch, "randn_like", lambda like: noise.expand_as(like).clone())
    group = group_step(small, images, condition)
    winners, losers = images[[0, 0, 1, 1]], images[[2, 3, 2, 3]]
    public = public_step(small, winners, losers, condition)
    torch.testing.assert_close(group, public, rtol=1e-4, atol=1e-5)
    ours, theirs = gradients
    assert (ours - theirs).norm() < 1e-3 * ours.norm()


def _collecting(parameter: nn.Parameter, into: list[torch.Tensor]) -> object:
    def zero_grad(module: nn.Module, set_to_none: bool = True) -> None:
        assert parameter.grad is not None
        into.append(parameter.grad.clone())
        parameter.grad = None
        for other in module.parameters():
            other.grad = None

    return zero_grad
