"""The networks of Stable Diffusion 1.x or 2.x and of a ControlNet for it, read from diffusers folders.

All configurations are compared before any weight is read.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from components.backbones.controlnet import pretrained
from components.backbones.controlnet.clip_text import ClipText
from components.backbones.controlnet.split_unet import check_plain
from components.backbones.samplers.ddpm import NoiseLevels
from components.errors import BadInput
from components.settings import SD2ControlNetSettings

PATH, BASE = "backbone.path", "backbone.base"
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")

SHARED = (
    "in_channels",
    "down_block_types",
    "mid_block_type",
    "block_out_channels",
    "layers_per_block",
    "cross_attention_dim",
    "attention_head_dim",
    "num_attention_heads",
    "use_linear_projection",
    "transformer_layers_per_block",
    "norm_num_groups",
)
"""What a ControlNet's configuration must have in common with its UNet's."""


@dataclass(frozen=True)
class SD2Parts:
    """Frozen parts in evaluation mode, in `settings.dtype`; the control branch in float32; the base's noise levels."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text: ClipText
    control: ControlNetModel
    levels: NoiseLevels


def read_parts(folder: Path, settings: SD2ControlNetSettings, device: torch.device) -> SD2Parts:
    """The ControlNet at `folder` and its base, `settings.base`; the text encoder is on `device`.

    `folder` is a diffusers folder, or a bare .safetensors state dict of `ControlNetModel.from_unet`.

    Raises:
        BadInput: something is missing, damaged, or does not fit; told before weights are read where that can be.
    """
    if settings.dtype == "float16" and device.type == "cpu":
        raise BadInput("backbone.dtype float16 needs a GPU; on a CPU set it to float32 or bfloat16")
    base, dtype = settings.base, getattr(torch, settings.dtype)
    pretrained.check_pipeline_folder(base, BASE, PARTS)
    unet_config = pretrained.read_full_config(UNet2DConditionModel, base, BASE, "unet")
    check_plain(unet_config, BASE)
    levels = NoiseLevels(pretrained.read_config(DDPMScheduler, base, BASE, "scheduler"), BASE)
    levels.check_steps(settings.steps)
    vae_config = pretrained.read_full_config(AutoencoderKL, base, BASE, "vae")
    text_config = pretrained.read_part(CLIPTextConfig, base, BASE, "text_encoder")
    check_base(unet_config, vae_config, text_config.hidden_size)
    file = pretrained.bare_weights(folder)
    check_control(folder, file, unet_config, len(vae_config["block_out_channels"]))

    unet = pretrained.read_model(UNet2DConditionModel, base, BASE, dtype, "unet").requires_grad_(False)
    if file is None:
        control = pretrained.read_model(ControlNetModel, folder, PATH, torch.float32)
    else:
        control = ControlNetModel.from_unet(unet, load_weights_from_unet=False).float()
        control.load_state_dict({name: tensor.float() for name, tensor in load_file(file).items()})
    vae_model = pretrained.read_model(AutoencoderKL, base, BASE, dtype, "vae").requires_grad_(False)
    tokenizer = pretrained.read_part(CLIPTokenizer, base, BASE, "tokenizer")
    encoder = pretrained.read_part(CLIPTextModel, base, BASE, "text_encoder", dtype=dtype)
    text = ClipText(tokenizer, encoder.eval().requires_grad_(False).to(device))
    return SD2Parts(unet, vae_model, text, control, levels)


def check_base(unet: dict[str, Any], vae_config: dict[str, Any], text_width: int) -> None:
    """Refuse a base whose parts do not make a text-to-image model.

    Raises:
        BadInput: latents or text of other widths than the UNet's.
    """
    latents = vae_config["latent_channels"]
    if unet["in_channels"] != latents or unet["out_channels"] != latents:
        raise BadInput(
            f"{BASE}: its UNet takes {unet['in_channels']} channels and gives {unet['out_channels']}, its VAE has "
            f"{latents}: it is an inpainting or upscaling model; choose a text-to-image one"
        )
    if unet["cross_attention_dim"] != text_width:
        raise BadInput(
            f"{BASE}: its UNet reads text of width {unet['cross_attention_dim']}, its text encoder gives {text_width}: "
            "the folder mixes two models; restore it from its source"
        )


def check_control(folder: Path, file: Path | None, unet_config: dict[str, Any], vae_levels: int) -> None:
    """Refuse a ControlNet that does not fit its base, from configurations or the header of a bare state dict.

    Raises:
        BadInput: it does not fit, is not there, or takes something else than RGB pixels.
    """
    way_out = f"a ControlNet for SD 1.x needs an SD 1.x base and one for SD 2.x an SD 2.x base: change {PATH} or {BASE}"
    if file is not None:
        with torch.device("meta"):
            unet = UNet2DConditionModel.from_config(unet_config)
            expected = ControlNetModel.from_unet(unet, load_weights_from_unet=False).state_dict()
        wanted = {name: tuple(tensor.shape) for name, tensor in expected.items()}
        what = f"{file} is no ControlNet state dict for {BASE}"
        pretrained.check_shapes(pretrained.shapes_of(file, PATH), wanted, PATH, what, way_out)
        return
    config = pretrained.read_config(ControlNetModel, folder, PATH)
    if config.get("_class_name") != ControlNetModel.__name__:
        raise BadInput(
            f"{PATH}: {folder} holds a {config.get('_class_name', 'model without a class')}, not a ControlNetModel; "
            "choose a ControlNet for Stable Diffusion, or another backbone.family"
        )
    control = pretrained.read_full_config(ControlNetModel, folder, PATH)
    levels = len(unet_config["block_out_channels"])
    differing = [name for name in SHARED if _by_level(control[name], levels) != _by_level(unet_config[name], levels)]
    if differing:
        shown = ", ".join(f"{name} {control[name]} for {unet_config[name]}" for name in differing[:3])
        raise BadInput(f"{PATH}: {folder} does not fit {BASE}: {shown}; {way_out}")
    if control["conditioning_channels"] != 3 or control["global_pool_conditions"]:
        raise BadInput(
            f"{PATH}: {folder} is conditioned on something else than RGB pixels; choose one that takes an image"
        )
    reductions = [2 ** (levels - 1) for levels in (len(control["conditioning_embedding_out_channels"]), vae_levels)]
    if reductions[0] != reductions[1]:
        raise BadInput(
            f"{PATH}: {folder} reduces its image {reductions[0]} times, the VAE of {BASE} {reductions[1]} times; "
            "choose a ControlNet made for this base"
        )


def _by_level(value: Any, levels: int) -> Any:
    """A number that stands for every level, written out; lists and tuples alike."""
    if isinstance(value, int):
        return [value] * levels
    return list(value) if isinstance(value, tuple) else value
