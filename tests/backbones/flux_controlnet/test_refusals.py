"""Bases and ControlNets that cannot work are refused, before their weights are read where that can be."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.backbones.flux_controlnet import FluxControlNet
from components.errors import BadInput
from tests.backbones.tiny_flux import flux_settings, write_base

CPU = torch.device("cpu")


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def no_base(base: Path, control: Path) -> str:
    shutil.rmtree(base)
    return "backbone.base.*no folder"


def no_vae(base: Path, control: Path) -> str:
    shutil.rmtree(base / "vae")
    return "backbone.base.*lacks vae"


def other_family(base: Path, control: Path) -> str:
    change_json(base / "model_index.json", _class_name="StableDiffusionPipeline", transformer=[None, None])
    return "StableDiffusionPipeline.*backbone.family"


def fill_variant(base: Path, control: Path) -> str:
    change_json(base / "transformer/config.json", in_channels=96)
    return "takes 96 channels.*FLUX.1-dev"


def no_guidance(base: Path, control: Path) -> str:
    change_json(base / "transformer/config.json", guidance_embeds=False)
    return "backbone.guidance is 2.5.*set it to 0"


def stochastic(base: Path, control: Path) -> str:
    change_json(base / "scheduler/scheduler_config.json", stochastic_sampling=True)
    return "scheduler.*stochastic_sampling"


def other_scheduler(base: Path, control: Path) -> str:
    index = json.loads((base / "model_index.json").read_text())
    change_json(base / "model_index.json", **index | {"scheduler": ["diffusers", "DDPMScheduler"]})
    return "DDPMScheduler.*predicts velocities"


def no_control(base: Path, control: Path) -> str:
    shutil.rmtree(control)
    return "backbone.path: there is no folder .*control; give"


def other_control(base: Path, control: Path) -> str:
    change_json(control / "config.json", _class_name="ControlNetModel")
    return "ControlNetModel, not a FluxControlNetModel"


def other_width(base: Path, control: Path) -> str:
    change_json(control / "config.json", num_attention_heads=3)
    return "num_attention_heads 3 for 2.*backbone.base"


def union(base: Path, control: Path) -> str:
    change_json(control / "config.json", num_mode=6)
    return "control mode"


def cut_weights(base: Path, control: Path) -> str:
    path = control / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    return "backbone.path.*cannot be read"


def missing_tensor(base: Path, control: Path) -> str:
    path = control / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    del state["x_embedder.weight"]
    save_file(state, path)
    return "lacks 1 tensors.*x_embedder"


def bare_of_another(base: Path, control: Path) -> str:
    (control / "config.json").unlink()
    path = control / "diffusion_pytorch_model.safetensors"
    save_file(load_file(path) | {"x_embedder.weight": torch.zeros(3, 3)}, path)
    return "no ControlNet for the transformer.*x_embedder"


def bare_of_nothing(base: Path, control: Path) -> str:
    (control / "config.json").unlink()
    save_file({"a": torch.zeros(1)}, control / "diffusion_pytorch_model.safetensors")
    return "no ControlNet for the transformer"


@pytest.mark.parametrize(
    "damage",
    [
        no_base, no_vae, other_family, fill_variant, no_guidance, stochastic, other_scheduler, no_control,
        other_control, other_width, union, cut_weights, missing_tensor, bare_of_another, bare_of_nothing,
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    base: Path, control: Path, tmp_path: Path, damage: Callable[[Path, Path], str]
) -> None:
    copies = [Path(shutil.copytree(source, tmp_path / source.name)) for source in (base, control)]
    message = damage(*copies)
    if damage not in (cut_weights, missing_tensor):  # all else is known before any weight is read
        for weights in copies[0].rglob("*.safetensors"):
            weights.unlink()
    with pytest.raises(BadInput, match=message):
        FluxControlNet.load(copies[1], flux_settings(*copies), CPU)


def test_a_base_with_too_few_blocks_gives_no_control_branch(tmp_path: Path) -> None:
    base = write_base(tmp_path, num_layers=2)
    with pytest.raises(BadInput, match="only 2 double blocks"):
        FluxControlNet.load(base, flux_settings(base, base), CPU)


def test_float16_is_refused_on_a_cpu(load: Callable[..., FluxControlNet]) -> None:
    with pytest.raises(BadInput, match="float16 needs a GPU"):
        load(dtype="float16")
