"""A Stable Diffusion 3 of the real classes with random weights, written to disk in diffusers' own format."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3ControlNetModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from components.settings import SD3ControlNetSettings
from tests.backbones.tiny_flux import LATENT_CHANNELS, clip_tokenizer, t5_tokenizer, tiny_vae

NETWORK: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "num_layers": 4,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "caption_projection_dim": 32,
    "pooled_projection_dim": 16,
    "pos_embed_max_size": 8,
    "dual_attention_layers": (0,),
    "qk_norm": "rms_norm",
}


def write_base(folder: Path, seed: int = 0) -> Path:
    """A pipeline folder: 4 joint blocks, the first with dual attention, two CLIPs and a T5 of two layers each."""
    torch.manual_seed(seed)
    clip = CLIPTextConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        projection_dim=8,
        bos_token_id=0,
        eos_token_id=1,
    )
    t5 = T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    pipeline = StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(**NETWORK),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny_vae(),
        text_encoder=CLIPTextModelWithProjection(clip),
        tokenizer=clip_tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(clip),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=T5EncoderModel(t5),
        tokenizer_3=t5_tokenizer(),
    )
    pipeline.save_pretrained(folder)
    return folder


def write_control(folder: Path, seed: int = 1, **network: Any) -> Path:
    """A ControlNet folder of two joint blocks whose residuals are not zero, as they are before any training."""
    torch.manual_seed(seed)
    control = SD3ControlNetModel(**(NETWORK | {"num_layers": 2} | network))
    with torch.no_grad():
        for block in [control.pos_embed_input.proj, *control.controlnet_blocks]:
            torch.nn.init.normal_(block.weight, std=0.1)
    control.save_pretrained(folder)
    return folder


def sd3_settings(base: Path, control: Path, **changes: Any) -> SD3ControlNetSettings:
    """Settings for a quick run of a base and a ControlNet on disk."""
    values = {"family": "sd3_controlnet", "path": control, "base": base, "scale": 4, "steps": 2, "colour_fix": "none"}
    values |= {"guidance_scale": 3.5, "negative_prompt": "blur", "max_sequence_length": 8}
    return SD3ControlNetSettings.model_validate(values | changes)
