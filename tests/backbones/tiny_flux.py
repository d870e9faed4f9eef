"""A FLUX of the real classes with random weights, written to disk in diffusers' own format."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxControlNetModel,
    FluxPipeline,
    FluxTransformer2DModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from components.settings import FluxControlNetSettings

LATENT_CHANNELS = 4
NETWORK: dict[str, Any] = {
    "in_channels": 4 * LATENT_CHANNELS,
    "num_layers": 4,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "pooled_projection_dim": 16,
    "guidance_embeds": True,
    "axes_dims_rope": (4, 4, 8),
}
WORDS = "abcdefghijklmnopqrstuvwxyz"


def write_base(folder: Path, seed: int = 0, **network: Any) -> Path:
    """A FLUX pipeline folder: 4 double blocks and 1 single block, CLIP and T5 of one layer each."""
    torch.manual_seed(seed)
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0, base_shift=0.5, max_shift=1.15),
        vae=tiny_vae(),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(vocab_size=64, max_position_embeddings=16, bos_token_id=0, eos_token_id=1, **text)
        ),
        tokenizer=clip_tokenizer(),
        text_encoder_2=T5EncoderModel(
            T5Config(
                vocab_size=64, d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
            )
        ),
        tokenizer_2=t5_tokenizer(),
        transformer=FluxTransformer2DModel(**(NETWORK | network)),
    )
    pipeline.save_pretrained(folder)
    return folder


def write_control(folder: Path, seed: int = 1, **network: Any) -> Path:
    """A ControlNet folder of two double blocks whose residuals are not zero, as they are before any training."""
    torch.manual_seed(seed)
    control = FluxControlNetModel(**(NETWORK | {"num_layers": 2, "num_single_layers": 0} | network))
    with torch.no_grad():
        for block in [control.controlnet_x_embedder, *control.controlnet_blocks, *control.controlnet_single_blocks]:
            torch.nn.init.normal_(block.weight, std=0.1)
    control.save_pretrained(folder)
    return folder


def flux_settings(base: Path, control: Path, **changes: Any) -> FluxControlNetSettings:
    """Settings for a quick run of a base and a ControlNet on disk."""
    values = {"family": "flux_controlnet", "path": control, "base": base, "scale": 4, "steps": 2, "colour_fix": "none"}
    values |= {"guidance": 2.5, "max_sequence_length": 8}
    return FluxControlNetSettings.model_validate(values | changes)


def tiny_vae() -> AutoencoderKL:
    """A VAE of factor 8 and tiles of 64 px.

    Its posterior has next to no variance, so that its mode and a sample of it, as stock pipelines take, agree.
    """
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=4,
        sample_size=64,
        shift_factor=0.1159,
        scaling_factor=0.3611,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    with torch.no_grad():
        vae.encoder.conv_out.weight[LATENT_CHANNELS:] = 0.0
        vae.encoder.conv_out.bias[LATENT_CHANNELS:] = -30.0
    return vae


def clip_tokenizer() -> CLIPTokenizer:
    """Letters."""
    letters = [*WORDS, *(f"{letter}</w>" for letter in WORDS)]
    vocabulary = {token: number for number, token in enumerate(["<|startoftext|>", "<|endoftext|>", *letters])}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=16)


def t5_tokenizer() -> T5Tokenizer:
    """Letters."""
    scored = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -2.0), *((letter, -3.0) for letter in WORDS)]
    return T5Tokenizer(vocab=scored, extra_ids=0, model_max_length=512)
