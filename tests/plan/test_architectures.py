"""The table of well-known models, by their published numbers of parameters."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from components.errors import BadInput
from components.plan.architectures import KNOWN, architecture
from components.plan.sd2 import KINDS


def parameters(model: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize(
    ("model", "unet", "control", "text"),
    [
        ("stable-diffusion-v1-5", 859_520_964, 361_279_120, 123_060_480),
        ("stable-diffusion-2-base", 865_910_724, 364_228_240, 340_387_840),
    ],
)
def test_stable_diffusion(model: str, unet: int, control: int, text: int) -> None:
    configs = KNOWN[model]
    with torch.device("meta"):
        network = UNet2DConditionModel.from_config(dict(configs["unet"]))
        assert parameters(network) == unet
        assert parameters(ControlNetModel.from_unet(network, load_weights_from_unet=False)) == control
        assert parameters(AutoencoderKL.from_config(dict(configs["vae"]))) == 83_653_863
        assert parameters(CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))) == text


def test_flux() -> None:
    configs = KNOWN["flux.1-dev"]
    with torch.device("meta"):
        assert parameters(FluxTransformer2DModel.from_config(dict(configs["transformer"]))) == 11_901_408_320
        assert parameters(AutoencoderKL.from_config(dict(configs["vae"]))) == 83_819_683
        assert parameters(CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))) == 123_060_480
        assert parameters(T5EncoderModel(T5Config(**configs["text_encoder_2"]))) == 4_762_310_656


@pytest.mark.parametrize(
    ("model", "transformer"),
    [("stable-diffusion-3-medium-diffusers", 2_028_328_000), ("stable-diffusion-3.5-large", 8_056_627_520)],
)
def test_stable_diffusion_3(model: str, transformer: int) -> None:
    configs = KNOWN[model]
    with torch.device("meta"):
        assert parameters(SD3Transformer2DModel.from_config(dict(configs["transformer"]))) == transformer
        second = CLIPTextModelWithProjection(CLIPTextConfig(**configs["text_encoder_2"]))
    assert parameters(second) == 694_659_840


@pytest.mark.parametrize("base", ["models/base/stable-diffusion-2-base", "someone/Stable-Diffusion-2-Base"])
def test_a_name_is_enough_where_there_is_no_folder(base: str, tmp_path: Path) -> None:
    found = architecture(Path(base), tmp_path, KINDS)
    assert found.configs is KNOWN["stable-diffusion-2-base"]
    assert "as published" in found.origin


def test_a_folder_goes_before_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "stable-diffusion-2-base"
    for part in KINDS:
        (folder / part).mkdir(parents=True)
        values = {"_class_name": KINDS[part].__name__, "model_type": "clip_text_model", "marker": 3}
        (folder / part / "config.json").write_text(json.dumps(values))
    found = architecture(Path("stable-diffusion-2-base"), tmp_path, KINDS)
    assert {part: config["marker"] for part, config in found.configs.items()} == dict.fromkeys(KINDS, 3)
    assert found.origin == "stable-diffusion-2-base"


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "base/unet").mkdir(parents=True)
    (tmp_path / "base/unet/config.json").write_text("{")
    with pytest.raises(BadInput, match=r"backbone\.base: .*base/unet cannot be read"):
        architecture(Path("base"), tmp_path, KINDS)


def test_what_is_nowhere_lists_the_known_names(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no folder .*absent.* stable-diffusion-2-base, .*flux\.1-dev"):
        architecture(tmp_path / "absent", tmp_path, KINDS)


def test_a_model_of_another_family_is_refused() -> None:
    with pytest.raises(BadInput, match=r"without unet: set backbone\.family"):
        architecture(Path("black-forest-labs/FLUX.1-dev"), Path("."), KINDS)
