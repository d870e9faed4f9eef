"""Stable Diffusion of the real classes with random weights, written to disk in diffusers' own format."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from components.settings import SD2ControlNetSettings

TOKENS = 16
LETTERS = "abcdefghijklmnopqrstuvwxyz,0123456789"

UNET: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "norm_num_groups": 8,
}
SD1: dict[str, Any] = UNET | {"cross_attention_dim": 16, "attention_head_dim": 2}
SD2: dict[str, Any] = UNET | {"cross_attention_dim": 24, "attention_head_dim": (2, 4), "use_linear_projection": True}
SCHEDULER: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "steps_offset": 1,
}
"""Of Stable Diffusion's own scheduler_config.json."""


def write_sd_base(folder: Path, seed: int = 0, network: dict[str, Any] | None = None, **scheduler: Any) -> Path:
    """A Stable Diffusion folder, SD2 unless `network` says SD1: two levels, a VAE of factor 8, a CLIP of one layer."""
    network = SD2 if network is None else network
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=0.18215,
    )
    text = CLIPTextConfig(
        vocab_size=2 + 2 * len(LETTERS),
        hidden_size=network["cross_attention_dim"],
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=clip_tokenizer(),
        unet=UNet2DConditionModel(**network),
        scheduler=DDPMScheduler(**(SCHEDULER | scheduler)),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def write_sd_control(folder: Path, base: Path, seed: int = 1) -> Path:
    """A ControlNet folder for `base`, its residuals not zero as they are before any training."""
    made_control(base, seed).save_pretrained(folder)
    return folder


def write_bare_control(file: Path, base: Path, seed: int = 1) -> Path:
    """The same weights as `write_sd_control` as a state dict alone."""
    save_file(made_control(base, seed).state_dict(), file)
    return file


def made_control(base: Path, seed: int) -> ControlNetModel:
    """A ControlNet whose zero convolutions are not zero."""
    torch.manual_seed(seed)
    control = ControlNetModel.from_unet(UNet2DConditionModel.from_pretrained(base, subfolder="unet"))
    image = control.controlnet_cond_embedding.conv_out
    for layer in (*control.controlnet_down_blocks, control.controlnet_mid_block, image):
        nn.init.normal_(layer.weight, std=0.3)
    return control


def sd_settings(base: Path, control: Path, **changes: Any) -> SD2ControlNetSettings:
    """Settings for a quick run of a base and a ControlNet on disk."""
    values = {"family": "sd2_controlnet", "path": control, "base": base, "scale": 4, "steps": 3, "colour_fix": "none"}
    values |= {"guidance_scale": 3.5, "negative_prompt": "blur, noise"}
    return SD2ControlNetSettings.model_validate(values | changes)


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with letters for tokens."""
    tokens = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TOKENS)
