"""The networks of Stable Diffusion 3 and of a ControlNet for it, read from diffusers folders.

All configurations are compared before any weight is read.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3ControlNetModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from components.backbones.controlnet.flow_parts import (
    BASE,
    CONTROL,
    FlowParts,
    check_flow_base,
    read_text_encoder,
    read_vae,
)
from components.backbones.controlnet.pretrained import (
    bare_weights,
    read_config,
    read_full_config,
    read_model,
    read_part,
)
from components.errors import BadInput
from components.settings import SD3ControlNetSettings

PARTS = (
    "transformer",
    "vae",
    "scheduler",
    *("text_encoder", "tokenizer"),
    *("text_encoder_2", "tokenizer_2"),
    *("text_encoder_3", "tokenizer_3"),
)

SHARED = (
    "patch_size",
    "in_channels",
    "attention_head_dim",
    "num_attention_heads",
    "joint_attention_dim",
    "caption_projection_dim",
    "pooled_projection_dim",
)
"""What a ControlNet's configuration has in common with its transformer's."""


def read_parts(folder: Path, settings: SD3ControlNetSettings) -> FlowParts:
    """The ControlNet in `folder`, a diffusers folder, and its base, `settings.base`.

    Raises:
        BadInput: something is missing or damaged, the base is no Stable Diffusion 3, or the ControlNet is not for it.
    """
    base = settings.base
    dtype: torch.dtype = getattr(torch, settings.dtype)
    _check_control(folder, _check_base(base))
    text = StableDiffusion3Pipeline(
        transformer=None,
        scheduler=None,
        vae=None,
        text_encoder=read_text_encoder(CLIPTextModelWithProjection, base, "text_encoder", dtype),
        tokenizer=read_part(CLIPTokenizer, base, BASE, "tokenizer"),
        text_encoder_2=read_text_encoder(CLIPTextModelWithProjection, base, "text_encoder_2", dtype),
        tokenizer_2=read_part(CLIPTokenizer, base, BASE, "tokenizer_2"),
        text_encoder_3=read_text_encoder(T5EncoderModel, base, "text_encoder_3", dtype),
        tokenizer_3=read_part(T5TokenizerFast, base, BASE, "tokenizer_3"),
    )
    return FlowParts(
        read_model(SD3ControlNetModel, folder, CONTROL, torch.float32),
        read_model(SD3Transformer2DModel, base, BASE, dtype, "transformer").requires_grad_(False),
        read_vae(base, dtype),
        text,
        read_part(FlowMatchEulerDiscreteScheduler, base, BASE, "scheduler"),
    )


def freeze_unused(control: SD3ControlNetModel, transformer: SD3Transformer2DModel) -> None:
    """Take from training what cannot change a prediction: DistributedDataParallel waits for every gradient it expects.

    Of n control blocks, block i of the transformer's N adds the residual int(i * n / N), the last block none; and
    nobody reads what the last control block that counts does to the text.
    """
    blocks, count = transformer.transformer_blocks, len(control.transformer_blocks)
    used = {int(place / (len(blocks) / count)) for place, block in enumerate(blocks) if not block.context_pre_only}
    last = max(used)
    unused = [module for place, module in enumerate(control.controlnet_blocks) if place not in used]
    unused += [*control.transformer_blocks[last + 1 :]]
    unused += [control.transformer_blocks[last].ff_context, control.transformer_blocks[last].attn.to_add_out]
    for module in unused:
        module.requires_grad_(False)


def _check_base(base: Path) -> dict[str, Any]:
    """Configuration of the base's transformer.

    Raises:
        BadInput: the base is not there or incomplete, is no Stable Diffusion 3, or a variant that cannot be sampled.
    """
    check_flow_base(base, StableDiffusion3Pipeline, SD3Transformer2DModel, PARTS, "Stable Diffusion 3")
    if read_config(FlowMatchEulerDiscreteScheduler, base, BASE, "scheduler").get("use_dynamic_shifting"):
        raise BadInput(
            f"{BASE}: the scheduler of {base} has use_dynamic_shifting, which Stable Diffusion 3's stock ControlNet "
            "pipeline does not take: give a base with a constant shift"
        )
    network = read_full_config(SD3Transformer2DModel, base, BASE, "transformer")
    latent_channels = read_config(AutoencoderKL, base, BASE, "vae")["latent_channels"]
    if network["in_channels"] != latent_channels or network["patch_size"] != 2:
        raise BadInput(
            f"{BASE}: the transformer of {base} takes {network['in_channels']} channels in patches of "
            f"{network['patch_size']}, not the VAE's {latent_channels} in patches of 2: give a text-to-image base"
        )
    return network


def _check_control(folder: Path, network: dict[str, Any]) -> None:
    """Refuse a ControlNet that is not for a transformer of configuration `network`.

    Raises:
        BadInput: it is not there, of another class or kind, or its sizes differ.
    """
    if bare := bare_weights(folder):
        raise BadInput(
            f"{CONTROL}: {bare} is a bare state dict, which does not say how its ControlNet was trained "
            "(force_zeros_for_pooled_projection); give a diffusers folder with its config.json"
        )
    kind = read_config(SD3ControlNetModel, folder, CONTROL).get("_class_name")
    if kind != SD3ControlNetModel.__name__:
        raise BadInput(f"{CONTROL}: {folder} holds a {kind}, not a {SD3ControlNetModel.__name__}")
    control = read_full_config(SD3ControlNetModel, folder, CONTROL)
    if control["extra_conditioning_channels"] or not control["use_pos_embed"] or control["joint_attention_dim"] is None:
        raise BadInput(
            f"{CONTROL}: {folder} takes more than one image's latents, or no text or places of its own "
            "(extra_conditioning_channels, joint_attention_dim, use_pos_embed); give a plain ControlNet of joint blocks"
        )
    differing = [f"{name} {control[name]} for {network[name]}" for name in SHARED if control[name] != network[name]]
    if differing:
        raise BadInput(
            f"{CONTROL}: {folder} is not for the transformer of {BASE}: {', '.join(differing)}; "
            f"set {BASE} to the model it was trained on"
        )
