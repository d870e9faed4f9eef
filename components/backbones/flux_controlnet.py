"""ControlNet on FLUX.1: a frozen flow transformer in latent space, led by a trainable copy of its first blocks.

x_sigma = (1 - sigma) x0 + sigma * epsilon and v = epsilon - x0 (rectified flow, Esser et al., arXiv 2403.03206). The
LR, upsampled and VAE-encoded, goes to the control branch, whose residuals are added inside the transformer after each
block (the setting of DP2O-SR's C-FLUX, arXiv 2510.18851). From the first residual on, policy and reference see
different activations: they share the encodings of text and LR and the transformer's weights, not its work.

Latents are `[B, C, h, w]` of a picture padded to whole tokens; a token is 2 x 2 of them. Whatever is predicted in the
padding is cropped from the images.
"""

import copy
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor, nn

from components.artifacts import digests
from components.backbones import control_branch, vae
from components.backbones.base import Branch, Condition, Samples
from components.backbones.flux_parts import FluxParts, freeze_unused, read_parts
from components.backbones.upsampling import upsample
from components.errors import BadInput
from components.settings import FluxControlNetSettings

COMPILE_BACKEND = "inductor"

TOKEN = 2
"""Side of a token, in latents."""


class FluxControlNet:
    """A ControlNet on FLUX.1; see the module's docstring for the model.

    With `lora_rank` 0 all of the control branch trains and the reference is a frozen copy of it, float32 like the
    policy, so that both round alike; otherwise an adapter trains and the reference is the branch without it.
    """

    def __init__(self, parts: FluxParts, settings: FluxControlNetSettings, device: torch.device) -> None:
        self.settings = settings
        self.device = device
        self.transformer = parts.transformer.to(device)
        self.vae = parts.vae.to(device)
        self.scheduler = parts.scheduler
        self.text = parts.text.to(device)
        control = parts.control.to(device)
        self.reference = control_branch.make_trainable(control, settings.lora_rank)
        freeze_unused(control, self.transformer)
        self.policy: nn.Module = control
        networks = [self.transformer, control] + ([] if self.reference is None else [self.reference])
        if settings.gradient_checkpointing:
            for network in networks[:2]:  # no gradient flows through the reference
                network.enable_gradient_checkpointing()
        if settings.channels_last:
            self.vae.to(memory_format=torch.channels_last)
        if settings.vae_tiling:
            self.vae.enable_tiling()
        if settings.compile:
            for network in networks:
                # Block by block: all blocks of a kind share one compilation.
                for block in [*network.transformer_blocks, *network.single_transformer_blocks]:
                    block.compile(backend=COMPILE_BACKEND)

    @classmethod
    def load(cls, folder: Path, settings: FluxControlNetSettings, device: torch.device) -> "FluxControlNet":
        """Policy and reference from `folder`, see `read_parts`; frozen parts from `settings.base`.

        Raises:
            BadInput: a part is missing or damaged, or the parts do not fit one another.
        """
        if settings.dtype == "float16" and device.type == "cpu":
            raise BadInput("backbone.dtype float16 needs a GPU; on a CPU set it to float32 or bfloat16")
        return cls(read_parts(folder, settings), settings, device)

    @property
    def scale(self) -> int:
        return self.settings.scale

    @property
    def sample_block(self) -> int:
        return self.settings.sample_block

    @property
    def multiple(self) -> int:
        """Sides of a picture in whole tokens are multiples of this, px: 16 for FLUX.1."""
        return TOKEN * vae.downsampling(self.vae)

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        tokens = [-(-side // self.multiple) for side in (height, width)]
        return (int(self.vae.config.latent_channels), TOKEN * tokens[0], TOKEN * tokens[1])

    def noise_shape(self, height: int, width: int) -> tuple[int, ...]:
        return self.latent_shape(height, width)

    @torch.no_grad()
    def condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        """See `Backbone`; the prompts go to CLIP and T5 alike, one by one: a row's bits depend on that row alone.

        Encodings: `control` `[B, C, h, w]`, the LR's latents; `prompt` `[B, S, D]`; `pooled` `[B, P]`.

        Raises:
            BadInput: the LR has more than `max_lr_pixels` px.
        """
        upsampled = upsample(lr, self.scale, self.settings.max_lr_pixels).to(self.device)
        with torch.autocast(self.device.type, enabled=False):
            texts = [
                self.text.encode_prompt(
                    prompt, prompt, device=self.device, max_sequence_length=self.settings.max_sequence_length
                )
                for prompt in prompts
            ]
        encodings = {
            "control": self.encode(upsampled),
            "prompt": torch.cat([prompt for prompt, _, _ in texts]),
            "pooled": torch.cat([pooled for _, pooled, _ in texts]),
        }
        return Condition(upsampled, prompts, encodings)

    def encode(self, images: Tensor) -> Tensor:
        return vae.encode(self.vae, vae.pad_to_multiple(images.to(self.device), self.multiple))

    @torch.no_grad()
    def sample(self, condition: Condition, noise: Tensor, branch: Branch = "policy") -> Samples:
        """Flow-matching Euler from sigma = 1; see `Backbone`.

        The state is float32 between steps, whatever the networks' dtype.
        """
        height, width = condition.upsampled.shape[-2:]
        policy = control_branch.unwrapped(self.policy)  # not wrapped: validation samples on one process only
        x = noise.to(self.device, torch.float32)
        scheduler = self._scheduler(*x.shape[-2:])
        with control_branch.network_of(branch, policy, self.reference) as control:
            for timestep in scheduler.timesteps:
                # As in stock pipelines: timesteps are 1000 sigma, and the quotient may differ from sigma by a bit.
                t = (timestep / 1000).expand(len(x))
                velocity = self._velocity(control, x, condition, t, autocast=True)
                x = scheduler.step(velocity, timestep, x, return_dict=False)[0]
        return Samples(vae.decode(self.vae, x)[..., :height, :width], x)

    def error(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor, branch: Branch) -> Tensor:
        """See `Backbone`; the mean is over the whole latents, with what belongs to the padding."""
        level = t.view(-1, 1, 1, 1)
        noisy = (1.0 - level) * latents + level * noise
        with (
            control_branch.network_of(branch, self.policy, self.reference) as control,
            torch.set_grad_enabled(branch == "policy" and torch.is_grad_enabled()),
        ):
            velocity = self._velocity(control, noisy, condition, t)
        return (velocity - (noise - latents)).square().mean(dim=(1, 2, 3))

    def errors(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """See `Backbone`; two whole passes, since every block after the first sees the control's residuals."""
        # The reference first: nothing switches the adapter between the policy's forward and backward pass.
        reference = self.error(latents, condition, t, noise, "reference")
        return self.error(latents, condition, t, noise, "policy"), reference

    def digest(self, branch: Branch) -> str:
        return digests.of_json([self._frozen_digest, control_branch.digest_of(branch, self.policy, self.reference)])

    def sampler_digest(self) -> str:
        sampler = self.settings.model_dump(
            mode="json",
            include={
                "scale", "steps", "conditioning_scale", "dtype", "vae_tiling", "guidance", "max_sequence_length",
            },
        )  # fmt: skip
        return digests.of_json({"scheduler": dict(self.scheduler.config), **sampler})

    def save(self, folder: Path) -> None:
        """A folder that `FluxControlNetModel.from_pretrained` loads; an adapter is merged, and kept beside it."""
        control_branch.save(self.policy, folder)

    def load_policy(self, folder: Path) -> None:
        control_branch.load(self.policy, folder)

    def _velocity(
        self, control: nn.Module, latents: Tensor, condition: Condition, t: Tensor, autocast: bool = False
    ) -> Tensor:
        """Predicted epsilon - x0, float32, of `latents` `[B, C, h, w]` at t `[B]`.

        `autocast` runs the control branch in the dtype of the frozen parts; in training that is the caller's choice.
        """
        height, width = latents.shape[-2:]
        tokens = pack(latents)
        image_ids = position_ids(height, width, self.device)
        text_ids = image_ids.new_zeros(condition.encodings["prompt"].shape[1], 3)
        guidance = t.new_full((len(t),), self.settings.guidance)

        def inputs(network: Any, dtype: torch.dtype) -> dict[str, Tensor | None]:
            return {
                "hidden_states": tokens.to(dtype),
                "encoder_hidden_states": condition.encodings["prompt"].to(dtype),
                "pooled_projections": condition.encodings["pooled"].to(dtype),
                "timestep": t,
                "guidance": guidance if network.config.guidance_embeds else None,
                "img_ids": image_ids,
                "txt_ids": text_ids,
            }

        dtype = self.transformer.dtype
        with torch.autocast(self.device.type, dtype) if autocast and dtype is not torch.float32 else nullcontext():
            double, single = control(
                controlnet_cond=pack(condition.encodings["control"]),
                conditioning_scale=self.settings.conditioning_scale,
                return_dict=False,
                **inputs(control_branch.unwrapped(control), torch.float32),
            )
        velocity = self.transformer(
            controlnet_block_samples=_cast(double, dtype),
            controlnet_single_block_samples=_cast(single, dtype),
            return_dict=False,
            **inputs(self.transformer, dtype),
        )[0]
        return unpack(velocity.float(), height, width)

    def _scheduler(self, height: int, width: int) -> FlowMatchEulerDiscreteScheduler:
        """A scheduler whose steps are those of stock pipelines for latents of that size."""
        scheduler = copy.deepcopy(self.scheduler)
        steps = self.settings.steps
        config = scheduler.config
        mu = calculate_shift(
            height * width // TOKEN**2,
            config.base_image_seq_len,
            config.max_image_seq_len,
            config.base_shift,
            config.max_shift,
        )
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0 / steps, steps), mu=mu, device=self.device)
        return scheduler

    @cached_property
    def _frozen_digest(self) -> str:
        """Of everything but the control branch; read once, since it is 17 billion parameters."""
        networks = (self.transformer, self.vae, self.text.text_encoder, self.text.text_encoder_2)
        return digests.of_json([digests.of_state(network.state_dict()) for network in networks])


def pack(latents: Tensor) -> Tensor:
    """Latents `[B, C, h, w]` to tokens `[B, h/2 * w/2, 4C]`: 2 x 2 latents each, row by row."""
    return F.pixel_unshuffle(latents, TOKEN).flatten(2).transpose(1, 2)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens `[B, h/2 * w/2, 4C]` to latents `[B, C, h, w]`; `height` and `width` are h and w."""
    folded = tokens.transpose(1, 2).unflatten(2, (height // TOKEN, width // TOKEN))
    return F.pixel_shuffle(folded, TOKEN)


def position_ids(height: int, width: int, device: torch.device) -> Tensor:
    """Row and column of each token of `height` x `width` latents, `[h/2 * w/2, 3]`; the first number is not used."""
    rows, columns = torch.meshgrid(
        torch.arange(height // TOKEN, device=device), torch.arange(width // TOKEN, device=device), indexing="ij"
    )
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1).float()


def _cast(residuals: list[Tensor] | None, dtype: torch.dtype) -> list[Tensor] | None:
    return None if residuals is None else [residual.to(dtype) for residual in residuals]
