"""What C-FLUX saves and loads, and what its digests name."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxControlNetModel

from components.backbones.base import Condition
from components.backbones.controlnet.lora import ADAPTER
from components.backbones.flux_controlnet import FluxControlNet
from components.errors import BadInput
from tests.backbones.flux_controlnet.rig import shake, training_batch
from tests.backbones.tiny_flux import flux_settings, write_base, write_control

CPU = torch.device("cpu")


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_policy_is_saved_and_loaded(load: Callable[..., FluxControlNet], tmp_path: Path, lora_rank: int) -> None:
    model = load(lora_rank=lora_rank)
    start = model.digest("reference")
    assert model.digest("policy") == start
    shake(model)
    trained = model.digest("policy")
    assert trained != start
    assert model.digest("reference") == start
    model.save(tmp_path)
    assert (tmp_path / ADAPTER).exists() == bool(lora_rank)
    other = load(lora_rank=lora_rank)
    other.load_policy(tmp_path)
    assert other.digest("policy") == trained
    assert other.digest("reference") == start
    assert load(tmp_path).digest("reference") == trained  # as the base of another round


def test_digests_know_all_that_matters(load: Callable[..., FluxControlNet], tmp_path: Path, control: Path) -> None:
    other = FluxControlNet.load(control, flux_settings(write_base(tmp_path / "base", seed=9), control), CPU)
    assert other.digest("reference") != load().digest("reference")
    plain = other.settings

    def sampler(**changes: Any) -> str:
        other.settings = plain.model_copy(update=changes)
        return other.sampler.digest

    changed = [{"steps": 3}, {"guidance": 3.0}, {"conditioning_scale": 0.5}, {"max_sequence_length": 9}]
    changed += [{"vae_tiling": True}, {"dtype": "bfloat16"}, {"scale": 2}]
    assert len({sampler(), *(sampler(**change) for change in changed)}) == 1 + len(changed)
    assert sampler(gradient_checkpointing=True, max_lr_pixels=99, lora_rank=1) == sampler()


def test_a_bare_state_dict_is_as_good_as_its_folder(
    load: Callable[..., FluxControlNet], control: Path, tmp_path: Path
) -> None:
    shutil.copy(control / "diffusion_pytorch_model.safetensors", tmp_path / "model.safetensors")
    expected = load().digest("reference")
    assert load(tmp_path / "model.safetensors").digest("reference") == expected
    assert load(tmp_path).digest("reference") == expected


def test_a_control_branch_may_start_from_the_transformer(
    load: Callable[..., FluxControlNet], base: Path, tmp_path: Path
) -> None:
    model = load(base)
    assert model.policy.config.num_layers == 4
    assert model.policy.config.num_single_layers == 0
    latents, condition, t, noise = training_batch(model)
    without = Condition(
        condition.upsampled, condition.prompts, condition.encodings | {"control": torch.zeros_like(latents)}
    )
    assert torch.equal(
        model.error(latents, condition, t, noise, "policy"), model.error(latents, without, t, noise, "policy")
    )
    model.save(tmp_path)
    assert FluxControlNetModel.from_pretrained(tmp_path).config.num_single_layers == 0
    assert load(tmp_path).digest("policy") == load(base).digest("policy")


def test_another_policy_is_refused(load: Callable[..., FluxControlNet], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no policy of this backbone.*missing"):
        load().load_policy(write_control(tmp_path, num_layers=1))
    with pytest.raises(BadInput, match=rf"{ADAPTER}.*backbone.lora_rank"):
        load(lora_rank=1).load_policy(tmp_path)
