"""What `dp2o export` writes of the smallest model, and what it refuses."""

import builtins
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from components.backbones.restore import restore
from components.errors import BadInput
from components.export import onnx_file
from components.export.command import export
from components.settings import BACKBONE
from components.upscale.upscaler import Upscaler
from tests.evaluations import evaluation
from tests.made import tiny_model

CPU = torch.device("cpu")


@pytest.fixture
def upscaler(tmp_path: Path) -> Upscaler:
    (tmp_path / "model").mkdir()
    tiny_model().save(tmp_path / "model")
    block = {"family": "tiny_flow", "path": tmp_path / "model", "steps": 3, "colour_fix": "adain"}
    return Upscaler.load(tmp_path / "model", BACKBONE.validate_python(block), CPU)


def test_torchscript_gives_the_models_pictures(upscaler: Upscaler, tmp_path: Path) -> None:
    done = export(upscaler, "tiny", "torchscript", tmp_path / "out")
    assert done["files"] == ["README.md", "model.pt"]
    loaded = torch.jit.load(tmp_path / "out/model.pt")
    for height, width in ((8, 8), (7, 13)):
        lr = torch.rand(1, 3, height, width, generator=torch.manual_seed(1))
        noise = torch.randn(1, 3, 4 * height, 4 * width)
        (ours,) = restore(
            upscaler.backbone, lr, ("",), [lambda shape, noise=noise: noise[0]], "adain", "policy", block=1
        )
        assert torch.allclose(loaded(lr, noise), ours.images, atol=1e-5)


def test_the_card_has_the_figures_of_these_weights_alone(upscaler: Upscaler, tmp_path: Path) -> None:
    digests = dict(evaluation().digests)
    known = evaluation(digests=digests | {"aligned": upscaler.digest})
    export(upscaler, "tiny", "torchscript", tmp_path / "own", known, licence="mit")
    export(upscaler, "tiny", "torchscript", tmp_path / "other", evaluation())
    text = (tmp_path / "own/README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    metrics = front["model-index"][0]["results"][0]["metrics"]
    assert {"type": "psnr", "name": "psnr", "value": 24.005} in metrics
    assert front["license"] == "mit"
    assert "| reward | 0.5000 | 0.5400 | +0.0400 [+0.0300, +0.0500] | higher | yes |" in text
    assert "No evaluation of these weights is known" in (tmp_path / "other/README.md").read_text()


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("zip", "there are onnx, torchscript, diffusers"),
        ("diffusers", "is for ControlNets .* tiny_flow, which no pipeline of diffusers runs: take --format onnx"),
    ],
)
def test_what_cannot_be_is_refused_by_name(upscaler: Upscaler, tmp_path: Path, form: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        export(upscaler, "tiny", form, tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(BadInput, match=r"out exists: name a new folder, nothing is overwritten"):
        export(upscaler, "tiny", "torchscript", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_dial_is_refused(upscaler: Upscaler, tmp_path: Path) -> None:
    upscaler.backbone.add_dial()
    with pytest.raises(BadInput, match="has a dial, which takes a preference as a third input"):
        export(upscaler, "tiny", "onnx", tmp_path / "out")


def test_a_file_that_gives_other_pictures_is_not_exported(
    upscaler: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "TOLERANCE", 0.0)
    with pytest.raises(BadInput, match=r"differ by .* from the model's: nothing is exported"):
        export(upscaler, "tiny", "onnx", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_without_the_extra_the_way_to_it_is_told(
    upscaler: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError("no", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(BadInput, match=r"needs onnxruntime, which is not installed here: pip install 'dp2o-sr\[export"):
        export(upscaler, "tiny", "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()
