"""What the families' measurements share: networks on the meta device, text encoders, the VAE, the control branch."""

import copy
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from components.backbones.controlnet import pretrained
from components.backbones.controlnet.lora import add_adapter, has_adapter
from components.backbones.controlnet.vae import downsampling
from components.errors import BadInput
from components.plan.architectures import Config
from components.plan.counting import META, flop, peak_bytes
from components.plan.figures import Part, Work
from components.storage.hub import folder, is_hub, source

CONTROL = "backbone.path"


def build(make: Callable[[], Any], dtype: str = "float32") -> Any:
    """The network that `make` gives, on the meta device: shapes without numbers. Frozen, in evaluation mode."""
    with META:
        network = make()
    for tensor in [*network.parameters(), *network.buffers()]:
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(getattr(torch, dtype))
    return network.eval().requires_grad_(False)


def empty(*shape: int, dtype: str = "float32") -> Tensor:
    """A tensor of that shape, without numbers."""
    return torch.empty(shape, device=META, dtype=getattr(torch, dtype))


def part(name: str, network: nn.Module, dtype: str) -> Part:
    """Sizes of a network."""
    parameters = list(network.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    return Part(name, sum(parameter.numel() for parameter in parameters), trained, dtype)


def text_encoder(name: str, network: nn.Module, tokens: int, dtype: str, on_host: bool = False) -> tuple[Part, Work]:
    """Size of a text encoder and cost of one prompt: a multiply-add a token and parameter outside the embeddings."""
    tables = {id(module.weight): module.weight for module in network.modules() if isinstance(module, nn.Embedding)}
    embedded = sum(weight.numel() for weight in tables.values())
    size = replace(part(name, network, dtype), on_host=on_host)
    return size, Work(name, 2 * tokens * (size.parameters - embedded))


def vae_dtype(dtype: str, config: Config) -> str:
    """What the backbones keep a VAE in: those of Stable Diffusion and FLUX overflow in float16, and say so."""
    return "float32" if dtype == "float16" and config.get("force_upcast", True) else dtype


def latent_side(vae: AutoencoderKL, side: int, token: int = 1) -> int:
    """Latents along a side of `side` px, in whole tokens."""
    return -(-side // (downsampling(vae) * token)) * token


@dataclass(frozen=True)
class VaeCosts:
    """Of one image: both directions, and the peak memory of decoding."""

    decode: Work
    encode: Work
    decode_bytes: int


@torch.no_grad()
def vae_costs(vae: AutoencoderKL, latent: int, dtype: str) -> VaeCosts:
    """Costs of an image of `latent` x `latent` latents; the backbones take images one by one."""
    factor = downsampling(vae)
    latents = empty(1, vae.config.latent_channels, latent, latent, dtype=dtype)
    image = empty(1, 3, latent * factor, latent * factor, dtype=dtype)

    def decode() -> Tensor:
        return cast(Tensor, vae.decode(latents, return_dict=False)[0].float())

    encode = flop(lambda: vae.encode(image, return_dict=False))
    return VaeCosts(Work("VAE decode", flop(decode)), Work("VAE encode of the LR", encode), peak_bytes(decode, [vae]))


def control_config(kind: Any, path: Path, base: Path, root: Path) -> tuple[Config | None, str]:
    """Configuration of the ControlNet at `path` and where it is from; None where there is none to read.

    A bare state dict, or a ControlNet that is not here yet, is planned as the family's own makes it from the base.

    Raises:
        BadInput: its folder is damaged.
    """
    place = source(path, root)
    if is_hub(place):
        with suppress(BadInput):  # not here yet
            place = folder(place, CONTROL)
    if path == base:
        return None, "a new one, made from the base"
    if place.is_dir() and pretrained.bare_weights(place) is None:
        return pretrained.read_config(kind, place, CONTROL), str(path)
    return None, f"as made from the base ({path} is {'a bare state dict' if place.exists() else 'not a folder here'})"


def branches(control: nn.Module, lora_rank: int) -> nn.Module | None:
    """Make `control` trainable; the frozen reference, or None where the branch without its adapter is it."""
    if lora_rank:
        with META:
            add_adapter(control, lora_rank)
        return None
    reference = copy.deepcopy(control)
    control.requires_grad_(True)
    return reference


def control_parts(control: nn.Module, reference: nn.Module | None) -> list[Part]:
    """Sizes of the branch that trains and of its frozen copy; both float32."""
    name = "ControlNet with adapter" if has_adapter(control) else "ControlNet"
    copies = [] if reference is None else [part("ControlNet, reference", reference, "float32")]
    return [part(name, control, "float32"), *copies]
