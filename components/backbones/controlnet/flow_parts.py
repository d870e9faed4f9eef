"""What a ControlNet backbone on a latent flow transformer is made of, and the parts every such base has."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from torch import nn

from components.backbones.controlnet.pretrained import check_pipeline_folder, read_config, read_model, read_part
from components.errors import BadInput

BASE, CONTROL = "backbone.base", "backbone.path"


@dataclass(frozen=True)
class FlowParts:
    """Networks in evaluation mode on the CPU.

    Attributes:
        control: a diffusers ControlNet, float32.
        transformer, vae: in the settings' dtype, frozen.
        text: frozen text encoders with their tokenizers, in a stock pipeline for the sake of its `encode_prompt`.
        scheduler: deterministic flow-matching Euler.
    """

    control: Any
    transformer: Any
    vae: AutoencoderKL
    text: DiffusionPipeline
    scheduler: FlowMatchEulerDiscreteScheduler

    @property
    def encoders(self) -> list[nn.Module]:
        """The text encoders."""
        return [part for part in self.text.components.values() if isinstance(part, nn.Module)]


def check_flow_base(base: Path, pipeline: Any, network: Any, parts: tuple[str, ...], name: str) -> None:
    """Refuse a base that is no pipeline of `network`, or whose scheduler is not deterministic flow-matching Euler.

    Args:
        base: pipeline folder.
        pipeline: a stock pipeline class, to read the folder's index with.
        network: class of the transformer.
        parts: subfolders that must be there.
        name: of the family, for people.

    Raises:
        BadInput: it is not there or incomplete, of another family, or has another scheduler.
    """
    check_pipeline_folder(base, BASE, ())
    index = read_config(pipeline, base, BASE)
    classes = {part: entry[1] for part, entry in index.items() if isinstance(entry, list | tuple)}
    if classes.get("transformer") != network.__name__:
        raise BadInput(
            f"{BASE}: {base} is a {index.get('_class_name')}, whose network is no {network.__name__}; "
            f"give a {name} pipeline, or set backbone.family to the family of this one"
        )
    check_pipeline_folder(base, BASE, parts)
    scheduler = read_config(FlowMatchEulerDiscreteScheduler, base, BASE, "scheduler")
    kind = classes.get("scheduler")
    if kind != FlowMatchEulerDiscreteScheduler.__name__ or any(
        scheduler.get(key) for key in ("stochastic_sampling", "invert_sigmas")
    ):
        raise BadInput(
            f"{BASE}: the scheduler of {base} is {kind} {dict(scheduler)}; {name} predicts velocities for a "
            f"{FlowMatchEulerDiscreteScheduler.__name__} without stochastic_sampling and invert_sigmas"
        )


def read_vae(base: Path, dtype: torch.dtype) -> AutoencoderKL:
    """The base's VAE, frozen, in `dtype` where it can be."""
    config = read_config(AutoencoderKL, base, BASE, "vae")
    # The VAEs of Stable Diffusion and FLUX overflow in float16, and their configurations say so.
    upcast = dtype is torch.float16 and config.get("force_upcast", True)
    return read_model(AutoencoderKL, base, BASE, torch.float32 if upcast else dtype, "vae").requires_grad_(False)


def read_text_encoder(kind: Any, base: Path, subfolder: str, dtype: torch.dtype) -> nn.Module:
    """A text encoder of transformers, frozen."""
    encoder: nn.Module = read_part(kind, base, BASE, subfolder, dtype=dtype)
    return encoder.eval().requires_grad_(False)
