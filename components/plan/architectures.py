"""Configurations of the networks: of a folder where there is one, else of the well-known models, which need no weights.

The table holds what the models' public config.json say; tests check it by parameter counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.backbones.controlnet.pretrained import read_config, read_part
from components.errors import BadInput
from components.storage.hub import bare_name, folder, shown, source

BASE = "backbone.base"

Config = Mapping[str, Any]

_STABLE_DIFFUSION_UNET: Config = {
    "in_channels": 4,
    "out_channels": 4,
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
}
_SD1_UNET = {**_STABLE_DIFFUSION_UNET, "attention_head_dim": 8, "cross_attention_dim": 768}
_SD2_UNET = {
    **_STABLE_DIFFUSION_UNET,
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
_VAE: Config = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}
_FLUX_VAE = {**_VAE, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
_FLUX: Config = {
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
    "axes_dims_rope": (16, 56, 56),
}
_CLIP_L: Config = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "vocab_size": 49408,
    "max_position_embeddings": 77,
}
_CLIP_H: Config = {
    **_CLIP_L,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
}
_T5_XXL: Config = {
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}
_CLIP_BIG_G: Config = {
    **_CLIP_L,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
}
_SD3_LARGE: Config = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 38,
    "attention_head_dim": 64,
    "num_attention_heads": 38,
    "caption_projection_dim": 2432,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
    "qk_norm": "rms_norm",
}
_SD3_MEDIUM: Config = {
    **_SD3_LARGE,
    "num_layers": 24,
    "num_attention_heads": 24,
    "caption_projection_dim": 1536,
    "qk_norm": None,
}
_SD1 = {"unet": _SD1_UNET, "vae": _VAE, "text_encoder": _CLIP_L}
_SD2 = {"unet": _SD2_UNET, "vae": _VAE, "text_encoder": _CLIP_H}
_SD3_TEXTS = {
    "text_encoder": {**_CLIP_L, "projection_dim": 768},
    "text_encoder_2": _CLIP_BIG_G,
    "text_encoder_3": _T5_XXL,
}
_FLUX_DEV = {"transformer": _FLUX, "vae": _FLUX_VAE, "text_encoder": _CLIP_L, "text_encoder_2": _T5_XXL}

KNOWN: Mapping[str, Mapping[str, Config]] = {
    "stable-diffusion-v1-4": _SD1,
    "stable-diffusion-v1-5": _SD1,
    "stable-diffusion-2": _SD2,
    "stable-diffusion-2-base": _SD2,
    "stable-diffusion-2-1": _SD2,
    "stable-diffusion-2-1-base": _SD2,
    "stable-diffusion-3-medium-diffusers": {"transformer": _SD3_MEDIUM, "vae": _FLUX_VAE, **_SD3_TEXTS},
    "stable-diffusion-3.5-large": {"transformer": _SD3_LARGE, "vae": _FLUX_VAE, **_SD3_TEXTS},
    "flux.1-dev": _FLUX_DEV,
    "flux.1-schnell": {**_FLUX_DEV, "transformer": {**_FLUX, "guidance_embeds": False}},
}
"""By the last part of a folder's name or a hub model's, in lower case; then by the part of the pipeline."""


@dataclass(frozen=True)
class Architecture:
    """Configuration of each part of a text-to-image pipeline, and where they are from, for people."""

    configs: Mapping[str, Config]
    origin: str


def architecture(base: Path, root: Path, kinds: Mapping[str, Any]) -> Architecture:
    """Architecture of `backbone.base`.

    Args:
        base: diffusers folder (below `root` or absolute) or a model of the hub.
        root: project folder.
        kinds: class of each part: of diffusers, or a configuration class of transformers.

    Raises:
        BadInput: it is neither a folder here, nor known by its name, nor a model the hub gives.
    """
    place = source(base, root)
    known = KNOWN.get(bare_name(base).lower())
    if not place.is_dir() and known is not None:
        missing = sorted(kinds.keys() - known.keys())
        if missing:
            raise BadInput(
                f"{BASE}: {base} is known as a pipeline without {', '.join(missing)}: "
                "set backbone.family to the family of this model"
            )
        return Architecture(known, f"{bare_name(base)} as published ({shown(base)} is not a folder here)")
    place = folder(place, BASE, pipeline=True)
    if not place.is_dir():
        raise BadInput(
            f"{BASE}: there is no folder {place}; give a diffusers folder, hf://owner/name@revision, or a name whose "
            f"architecture is known: {', '.join(KNOWN)}"
        )
    configs = {}
    for part, kind in kinds.items():
        if kind.__name__.endswith("Config"):
            configs[part] = read_part(kind, place, BASE, part).to_dict()
        else:
            configs[part] = {
                name: value for name, value in read_config(kind, place, BASE, part).items() if not name.startswith("_")
            }
    return Architecture(configs, shown(base))
