"""What C-SD2 saves, and what its digests name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file, save_file

from components.backbones.sd2_controlnet import SD2ControlNet
from components.errors import BadInput
from tests.backbones.sd2_controlnet.rig import Folders, change, denoising, plain_error, with_settings
from tests.backbones.tiny_pipelines import sd_settings, write_bare_control

CPU = torch.device("cpu")


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_what_was_saved_loads_as_policy_and_as_a_new_base(sd2: Folders, tmp_path: Path, lora_rank: int) -> None:
    model = sd2.load(lora_rank=lora_rank, conditioning_scale=0.8)
    change(model.policy)
    model.save(tmp_path)
    again = sd2.load(lora_rank=lora_rank, conditioning_scale=0.8)
    again.load_policy(tmp_path)
    assert again.digest("policy") == model.digest("policy")
    assert again.digest("reference") == model.digest("reference") == sd2.plain.digest("reference")
    policy, reference = again.errors(*denoising(again))
    assert torch.equal(policy, model.errors(*denoising(model))[0])
    assert not torch.allclose(policy, reference, rtol=1e-3)
    based = SD2ControlNet.load(tmp_path, sd_settings(sd2.base, tmp_path), CPU)
    assert based.digest("reference") == based.digest("policy") == model.digest("policy")
    stock = ControlNetModel.from_pretrained(tmp_path)
    assert torch.allclose(policy, plain_error(model, stock, *denoising(model)), rtol=1e-4)


def test_saved_bytes_do_not_depend_on_where_it_was_loaded_from(sd2: Folders, tmp_path: Path) -> None:
    moved = sd2.copy(tmp_path / "moved")
    for name, model in (("here", sd2.plain), ("there", moved.load())):
        (tmp_path / name).mkdir()
        model.save(tmp_path / name)
    for file in ("config.json", "diffusion_pytorch_model.safetensors"):
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes()


def test_a_policy_of_another_kind_is_refused(sd2: Folders, sd1_v: Folders, tmp_path: Path) -> None:
    full, adapter, wider = (sd2.load(lora_rank=rank) for rank in (0, 2, 3))
    for name, model in (("full", full), ("adapter", adapter), ("wider", wider)):
        (tmp_path / name).mkdir()
        model.save(tmp_path / name)
    with pytest.raises(BadInput, match=r"not trained with an adapter: set backbone\.lora_rank to 0"):
        adapter.load_policy(tmp_path / "full")
    with pytest.raises(BadInput, match=r"does not fit: .*set backbone\.lora_rank"):
        adapter.load_policy(tmp_path / "wider")
    with pytest.raises(BadInput, match=r"no policy of this backbone: \d+ tensors differ, .*set backbone\.path"):
        sd1_v.plain.load_policy(tmp_path / "full")
    with pytest.raises(BadInput, match="has no diffusion_pytorch_model"):
        full.load_policy(tmp_path)
    full.load_policy(tmp_path / "adapter")  # merged into the branch


def test_a_bare_state_dict_is_the_same_controlnet(sd2: Folders, tmp_path: Path) -> None:
    file = write_bare_control(tmp_path / "model.safetensors", sd2.base)
    expected = sd2.plain.digest("reference")
    for source in (file, tmp_path):
        assert SD2ControlNet.load(source, sd_settings(sd2.base, source), CPU).digest("policy") == expected


def test_digests_name_what_determines_the_result(sd2: Folders, tmp_path: Path) -> None:
    plain = sd2.plain
    unchanged = with_settings(plain, sample_block=1, gradient_checkpointing=True, max_lr_pixels=9)
    assert unchanged.sampler.digest == plain.sampler.digest
    changes: list[dict[str, Any]] = [
        {"steps": 2},
        {"guidance_scale": 2.0},
        {"negative_prompt": ""},
        {"conditioning_scale": 0.5},
        {"vae_tiling": True},
    ]
    digests = {with_settings(plain, **change).sampler.digest for change in [{}, *changes]}
    assert len(digests) == 1 + len(changes)
    other = sd2.copy(tmp_path)
    weights = load_file(other.base / "vae/diffusion_pytorch_model.safetensors")
    weights["decoder.conv_out.bias"] += 0.1
    save_file(weights, other.base / "vae/diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    assert other.load().digest("reference") != plain.digest("reference")
