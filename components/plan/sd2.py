"""Sizes and costs of `sd2_controlnet`: the passes its sampler and its `errors` make, on the meta device."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from components.backbones.base import Branch
from components.backbones.controlnet.control_branch import network_of
from components.backbones.controlnet.split_unet import Features, SplitUNet
from components.plan import networks
from components.plan.architectures import architecture
from components.plan.counting import flop, peak_bytes, recomputing
from components.plan.figures import Figures, Shape, Work
from components.plan.networks import empty
from components.settings import SD2ControlNetSettings

KINDS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextConfig}


def measure(settings: SD2ControlNetSettings, root: Path, shape: Shape) -> Figures:
    """Figures at `shape`.

    Raises:
        BadInput: the base or the ControlNet cannot be read.
    """
    dtype = settings.dtype
    base = architecture(settings.base, root, KINDS)
    unet = networks.build(lambda: UNet2DConditionModel.from_config(dict(base.configs["unet"])), dtype)
    vae_dtype = networks.vae_dtype(dtype, base.configs["vae"])
    vae = networks.build(lambda: AutoencoderKL.from_config(dict(base.configs["vae"])), vae_dtype)
    encoder = networks.build(lambda: CLIPTextModel(CLIPTextConfig(**base.configs["text_encoder"])), dtype)
    control, control_origin = _control(settings, root, unet)
    reference = networks.branches(control, settings.lora_rank)
    words = encoder.config.max_position_embeddings
    text_part, text_work = networks.text_encoder("text encoder", encoder, words, dtype)
    latent = networks.latent_side(vae, shape.side)
    vae_costs = networks.vae_costs(vae, latent, vae_dtype)
    passes = _Passes(unet, control, reference, shape.side, latent, words)

    one = passes.at(1)
    with torch.no_grad():
        features = one.down()
        residuals = one.control("policy")
        first_half = Work("UNet, down and middle", flop(one.down))
        up = flop(lambda: one.up(features, *residuals))
        policy, frozen = flop(lambda: one.control("policy")), flop(lambda: one.control("reference"))
    forward_backward = flop(lambda: torch.autograd.backward(one.up(features, *one.control("policy")).float().mean()))
    evaluations = settings.steps * (2 if settings.guidance_scale > 1.0 else 1)

    rows = passes.at(shape.sampling_rows * (2 if settings.guidance_scale > 1.0 else 1))
    autocast = None if dtype == "float32" else getattr(torch, dtype)
    with torch.no_grad():
        denoise_bytes = peak_bytes(lambda: rows.up(rows.down(), *rows.control("reference")), passes.modules, autocast)
    return Figures(
        parts=(
            networks.part("UNet", unet, dtype),
            *networks.control_parts(control, reference),
            networks.part("VAE", vae, vae_dtype),
            text_part,
        ),
        origin=(f"base: {base.origin}", f"ControlNet: {control_origin}"),
        candidate=(
            Work("UNet", first_half.flop + up, evaluations, predicts=True),
            Work("ControlNet", frozen, evaluations, predicts=True),
            vae_costs.decode,
        ),
        condition=(text_work,),
        row=(
            first_half,
            Work("ControlNet and UNet's up path, policy", policy + up),
            Work("the same, reference", frozen + up),
            Work("backward pass of the policy's", forward_backward - policy - up),
        ),
        recomputed=(Work("recomputed in the backward pass", policy + up),),
        sampling_bytes=max(denoise_bytes, vae_costs.decode_bytes),
        training_bytes={on: passes.training_bytes(shape, on) for on in (False, True)},
        latent_numbers=vae.config.latent_channels * latent**2,
        shared=(first_half,),
    )


def _control(settings: SD2ControlNetSettings, root: Path, unet: UNet2DConditionModel) -> tuple[ControlNetModel, str]:
    """The control network, and where its architecture is from; a new one has the UNet's."""
    config, origin = networks.control_config(ControlNetModel, settings.path, settings.base, root)
    if config is None:
        return networks.build(lambda: ControlNetModel.from_unet(unet, load_weights_from_unet=False)), origin
    return networks.build(lambda: ControlNetModel.from_config(dict(config))), origin


class _Passes:
    """The networks' inputs for some rows, and the passes over them."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        control: ControlNetModel,
        reference: nn.Module | None,
        side: int,
        latent: int,
        words: int,
        rows: int = 1,
    ) -> None:
        self._unet, self._control, self._reference = unet, control, reference
        self._side, self._latent, self._words = side, latent, words
        self._split = SplitUNet(unet)
        self._noisy = empty(rows, unet.config.in_channels, latent, latent)
        self._levels = empty(rows)
        self._text = empty(rows, words, unet.config.cross_attention_dim)
        self._image = empty(rows, 3, side, side)
        self.modules = [unet, control] + ([] if reference is None else [reference])

    def at(self, rows: int) -> "_Passes":
        """The same networks with inputs of so many rows."""
        return _Passes(self._unet, self._control, self._reference, self._side, self._latent, self._words, rows)

    def down(self) -> Features:
        return self._split.down(self._noisy, self._levels, self._text)

    def control(self, branch: Branch) -> tuple[list[Tensor], Tensor]:
        with network_of(branch, self._control, self._reference) as network:
            down, middle = network(
                self._noisy,
                self._levels,
                encoder_hidden_states=self._text,
                controlnet_cond=self._image,
                return_dict=False,
            )
        return down, middle

    def up(self, features: Features, down: list[Tensor], middle: Tensor) -> Tensor:
        return self._split.up(features, self._text, down, middle)

    def training_bytes(self, shape: Shape, checkpointing: bool) -> int:
        """Peak of one forward and backward pass of the policy."""
        autocast = None if shape.precision is None else getattr(torch, shape.precision)
        for network in (self._unet, self._control):
            if checkpointing:
                network.enable_gradient_checkpointing(recomputing(autocast))
            else:
                network.disable_gradient_checkpointing()
        rows = self.at(shape.training_rows)

        def run() -> None:
            features = rows.down()
            with torch.no_grad():
                rows.up(features, *rows.control("reference"))
            torch.autograd.backward(rows.up(features, *rows.control("policy")).float().square().mean())

        return peak_bytes(run, self.modules, autocast)
