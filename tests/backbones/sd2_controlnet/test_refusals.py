"""Bases and ControlNets that cannot work are refused, before their weights are read where that can be."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.backbones.controlnet import pretrained
from components.backbones.sd2_controlnet import SD2ControlNet
from components.errors import BadInput
from tests.backbones.sd2_controlnet.rig import Folders
from tests.backbones.tiny_pipelines import sd_settings, write_bare_control

CPU = torch.device("cpu")


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No weight is read and nothing is moved to a device: the refusal comes before."""

    def read(*arguments: Any, **options: Any) -> None:
        raise AssertionError("weights were read before the settings were checked")

    monkeypatch.setattr(pretrained, "read_model", read)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"},
         r"backbone\.base: .*prediction_type 'sample', supported are epsilon and v_prediction; choose a base"),
        ("scheduler/scheduler_config.json", {"variance_type": "learned"}, r"variance_type other than fixed_small"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 2}, r"backbone\.steps 3 exceeds the 2 noise"),
        ("unet/config.json", {"in_channels": 9}, r"backbone\.base: its UNet takes 9 channels .*inpainting"),
        ("unet/config.json", {"num_class_embeds": 10}, r"backbone\.base: its UNet sets num_class_embeds"),
        ("text_encoder/config.json", {"hidden_size": 32}, r"width 24, its text encoder gives 32"),
        ("unet/config.json", {"up_block_types": ["Nothing"]}, r"backbone\.base: .*unet does not describe a UNet2D"),
    ],
)  # fmt: skip
def test_a_base_that_cannot_work_is_refused(
    sd2: Folders, tmp_path: Path, file: str, changes: dict[str, Any], message: str
) -> None:
    folders = sd2.copy(tmp_path)
    edit(folders.base / file, **changes)
    with pytest.raises(BadInput, match=message):
        folders.load()


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler", "model_index.json"])
def test_a_missing_part_is_named(sd2: Folders, tmp_path: Path, part: str) -> None:
    folders = sd2.copy(tmp_path)
    path = folders.base / part
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(BadInput, match=rf"backbone\.base: .*lacks {part}: .*hf://owner/name@revision"):
        folders.load()


def test_a_tokenizer_without_words_is_refused(sd2: Folders, tmp_path: Path) -> None:
    folders = sd2.copy(tmp_path)
    for file in (folders.base / "tokenizer").iterdir():
        file.unlink()
    with pytest.raises(BadInput, match=r"backbone\.base: .*tokenizer (has no vocabulary|cannot be read)"):
        folders.load()


@pytest.mark.usefixtures("unread")
def test_a_controlnet_that_does_not_fit_its_base_is_refused(sd2: Folders, sd1_v: Folders, tmp_path: Path) -> None:
    settings = sd_settings(sd2.base, sd1_v.control)
    with pytest.raises(BadInput, match=r"backbone\.path: .*cross_attention_dim 16 for 24.*change backbone\.path or"):
        SD2ControlNet.load(sd1_v.control, settings, CPU)
    file = write_bare_control(tmp_path / "control.safetensors", sd1_v.base)
    with pytest.raises(BadInput, match=r"backbone\.path: .*control\.safetensors is no ControlNet state dict.*tensors"):
        SD2ControlNet.load(file, settings, CPU)
    with pytest.raises(BadInput, match="holds a UNet2DConditionModel, not a ControlNetModel"):
        SD2ControlNet.load(sd2.base / "unet", settings, CPU)
    other = sd2.copy(tmp_path)
    edit(other.control / "config.json", conditioning_channels=4)
    with pytest.raises(BadInput, match="something else than RGB pixels"):
        other.load()
    edit(other.control / "config.json", conditioning_channels=3, conditioning_embedding_out_channels=[16, 32, 96])
    with pytest.raises(BadInput, match=r"reduces its image 4 times, the VAE of backbone\.base 8 times"):
        other.load()


@pytest.mark.usefixtures("unread")
def test_what_is_not_there_is_named_with_its_setting(sd2: Folders, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(BadInput, match=r"backbone\.base: .*nowhere is no folder"):
        SD2ControlNet.load(sd2.control, sd_settings(nowhere, sd2.control), CPU)
    with pytest.raises(BadInput, match=r"backbone\.path: there is no folder .*nowhere; give the folder"):
        SD2ControlNet.load(nowhere, sd_settings(sd2.base, nowhere), CPU)
    with pytest.raises(BadInput, match=r"backbone\.base: .*owner/name is no folder; give the folder"):
        SD2ControlNet.load(sd2.control, sd_settings(Path("owner/name"), sd2.control), CPU)
    with pytest.raises(BadInput, match=r"backbone\.dtype float16 needs a GPU"):
        sd2.load(dtype="float16")


def test_damaged_or_incomplete_weights_are_refused(sd2: Folders, tmp_path: Path) -> None:
    folders = sd2.copy(tmp_path)
    path = folders.base / "unet/diffusion_pytorch_model.safetensors"
    content = path.read_bytes()
    weights = load_file(path)
    del weights["conv_in.bias"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"backbone\.base: .*unet lacks 1 tensors .*conv_in\.bias"):
        folders.load()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match=r"backbone\.base: .*unet cannot be read .*restore it"):
        folders.load()
    path.write_bytes(content)
    file = tmp_path / "cut.safetensors"
    file.write_bytes(content[:1000])
    with pytest.raises(BadInput, match=r"backbone\.path: .*cut\.safetensors is damaged"):
        SD2ControlNet.load(file, sd_settings(folders.base, file), CPU)
