"""The networks of FLUX and of a ControlNet for it, read from diffusers folders or a bare state dict.

All configurations are compared before any weight is read.
"""

import logging
import math
import re
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
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

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
    check_shapes,
    read_config,
    read_full_config,
    read_model,
    read_part,
    shapes_of,
)
from components.errors import BadInput
from components.settings import FluxControlNetSettings

logger = logging.getLogger("dp2o.backbones")

PARTS = ("transformer", "vae", "scheduler", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")

SHARED = (
    "in_channels",
    "attention_head_dim",
    "num_attention_heads",
    "joint_attention_dim",
    "pooled_projection_dim",
    "axes_dims_rope",
)
"""What a ControlNet's configuration has in common with its transformer's."""

DOUBLE_LAYERS, SINGLE_LAYERS = 4, 0
"""Of a control branch that starts from the transformer's own first blocks (DP2O-SR's C-FLUX, arXiv 2510.18851)."""


def read_parts(folder: Path, settings: FluxControlNetSettings) -> FlowParts:
    """The ControlNet in `folder` (whatever `settings.path` says) and its base, `settings.base`.

    `folder` may be a diffusers folder, a bare `.safetensors` state dict, or the base itself: then the control
    branch starts as DOUBLE_LAYERS of the transformer's own blocks, whose residuals are zero until it is trained.

    Raises:
        BadInput: something is missing or damaged, the base is no FLUX, or the ControlNet is not for this base.
    """
    base = settings.base
    network = _check_base(settings)
    dtype: torch.dtype = getattr(torch, settings.dtype)
    bare = bare_weights(folder)
    if folder != base:
        config = _bare_config(bare, network) if bare else _control_config(folder)
        _check_control(folder, config, network)

    transformer = read_model(FluxTransformer2DModel, base, BASE, dtype, "transformer")
    if folder == base:
        control = _from_transformer(transformer)
    elif bare:
        control = FluxControlNetModel.from_config(config)
        control.load_state_dict(load_file(bare))  # copies into float32
    else:
        control = read_model(FluxControlNetModel, folder, CONTROL, torch.float32)
    text = FluxPipeline(
        scheduler=None,
        vae=None,
        text_encoder=read_text_encoder(CLIPTextModel, base, "text_encoder", dtype),
        tokenizer=read_part(CLIPTokenizer, base, BASE, "tokenizer"),
        text_encoder_2=read_text_encoder(T5EncoderModel, base, "text_encoder_2", dtype),
        tokenizer_2=read_part(T5TokenizerFast, base, BASE, "tokenizer_2"),
        transformer=None,
    )
    return FlowParts(
        control.float().eval(),
        transformer.requires_grad_(False),
        read_vae(base, dtype),
        text,
        read_part(FlowMatchEulerDiscreteScheduler, base, BASE, "scheduler"),
    )


def freeze_unused(control: FluxControlNetModel, transformer: FluxTransformer2DModel) -> None:
    """Take from training what cannot change a prediction: DistributedDataParallel waits for every gradient it expects.

    The residuals of n control blocks go to the transformer's N blocks in runs of ceil(N / n), so the last ones may have
    no block left; and without single blocks nobody reads what the last double block does to the text.
    """
    double = _used(len(transformer.transformer_blocks), len(control.transformer_blocks))
    single = _used(len(transformer.single_transformer_blocks), len(control.single_transformer_blocks))
    unused = [
        *control.controlnet_blocks[double:],
        *control.controlnet_single_blocks[single:],
        *control.single_transformer_blocks[single:],
    ]
    if single == 0:
        last = control.transformer_blocks[double - 1]
        unused += [*control.transformer_blocks[double:], last.ff_context, last.attn.to_add_out]
    for module in unused:
        module.requires_grad_(False)


def _used(frozen_blocks: int, control_blocks: int) -> int:
    """How many of the control blocks' residuals the transformer adds somewhere."""
    if not frozen_blocks or not control_blocks:
        return 0
    return (frozen_blocks - 1) // math.ceil(frozen_blocks / control_blocks) + 1


def _check_base(settings: FluxControlNetSettings) -> dict[str, Any]:
    """Configuration of the base's transformer.

    Raises:
        BadInput: the base is not there or incomplete, is no FLUX, or cannot be sampled as the settings say.
    """
    base = settings.base
    check_flow_base(base, FluxPipeline, FluxTransformer2DModel, PARTS, "FLUX.1")
    network = read_full_config(FluxTransformer2DModel, base, BASE, "transformer")
    latent_channels = read_config(AutoencoderKL, base, BASE, "vae")["latent_channels"]
    if network["in_channels"] != 4 * latent_channels:
        raise BadInput(
            f"{BASE}: the transformer of {base} takes {network['in_channels']} channels, not the {4 * latent_channels} "
            "of noise alone: give FLUX.1-dev or FLUX.1-schnell, not a Fill, Canny, Depth or Redux variant"
        )
    if settings.guidance and not network["guidance_embeds"]:
        raise BadInput(
            f"backbone.guidance is {settings.guidance}, but {base} has no guidance embedding (as FLUX.1-schnell): "
            "set it to 0"
        )
    return network


def _control_config(folder: Path) -> dict[str, Any]:
    """Configuration of a ControlNet in diffusers' format.

    Raises:
        BadInput: there is none, or of another class.
    """
    kind = read_config(FluxControlNetModel, folder, CONTROL).get("_class_name", "FluxControlNetModel")
    if kind != "FluxControlNetModel":
        raise BadInput(f"{CONTROL}: {folder} holds a {kind}, not a FluxControlNetModel; give a ControlNet for FLUX.1")
    return read_full_config(FluxControlNetModel, folder, CONTROL)


def _bare_config(weights: Path, network: dict[str, Any]) -> dict[str, Any]:
    """Configuration of a state dict without one: numbers of blocks from its names, all else as the transformer's.

    Raises:
        BadInput: it is damaged, or no ControlNet of such a configuration.
    """
    shapes = shapes_of(weights, CONTROL)

    def count(prefix: str) -> int:
        return len({match[1] for name in shapes if (match := re.match(rf"{prefix}\.(\d+)\.", name))})

    given = {name: network[name] for name in SHARED} | {
        "num_layers": count("transformer_blocks"),
        "num_single_layers": count("single_transformer_blocks"),
        "guidance_embeds": any(name.startswith("time_text_embed.guidance_embedder.") for name in shapes),
    }
    with torch.device("meta"):
        control = FluxControlNetModel.from_config(given)
    expected = {name: tuple(tensor.shape) for name, tensor in control.state_dict().items()}
    way_out = "set backbone.base to the model it was trained on, or give a diffusers folder with its config.json"
    check_shapes(shapes, expected, CONTROL, f"{weights} is no ControlNet for the transformer of {BASE}", way_out)
    return dict(control.config)


def _check_control(folder: Path, control: dict[str, Any], network: dict[str, Any]) -> None:
    """Refuse a ControlNet that is not for a transformer of configuration `network`.

    Raises:
        BadInput: its sizes differ, or it takes something else than one image's latents.
    """
    differing = [
        f"{name} {control[name]} for {network[name]}"
        for name in SHARED
        if _plain(control[name]) != _plain(network[name])
    ]
    if differing:
        raise BadInput(
            f"{CONTROL}: {folder} is not for the transformer of {BASE}: {', '.join(differing)}; "
            f"set {BASE} to the model it was trained on"
        )
    if control["num_mode"] is not None or control["conditioning_embedding_channels"] is not None:
        raise BadInput(
            f"{CONTROL}: {folder} takes a control mode or pixels (num_mode {control['num_mode']}, "
            f"conditioning_embedding_channels {control['conditioning_embedding_channels']}); "
            "give a ControlNet that takes the VAE's latents of one image"
        )
    if not control["num_layers"]:
        raise BadInput(f"{CONTROL}: {folder} has no double block; give a ControlNet with at least one")


def _from_transformer(transformer: FluxTransformer2DModel) -> FluxControlNetModel:
    """A control branch of the transformer's own first blocks.

    Raises:
        BadInput: the transformer has fewer double blocks.
    """
    if len(transformer.transformer_blocks) < DOUBLE_LAYERS:
        raise BadInput(
            f"{CONTROL} is backbone.base, whose transformer has only {len(transformer.transformer_blocks)} double "
            f"blocks: a control branch starts as its first {DOUBLE_LAYERS}; give a ControlNet"
        )
    logger.warning(
        "%s is backbone.base: the control branch is new and leads nowhere until it is trained to restore", CONTROL
    )
    return FluxControlNetModel.from_transformer(
        transformer,
        num_layers=DOUBLE_LAYERS,
        num_single_layers=SINGLE_LAYERS,
        attention_head_dim=transformer.config.attention_head_dim,
        num_attention_heads=transformer.config.num_attention_heads,
    )


def _plain(value: Any) -> Any:
    """A list of a file is a tuple in a signature's defaults."""
    return tuple(value) if isinstance(value, list) else value
