"""ControlNet on FLUX.1, as DP2O-SR's C-FLUX (arXiv 2510.18851): the control branch is a copy of the first blocks.

See `flow_controlnet` for what it shares with other flow transformers. The network takes tokens, with their places, and
the value of guidance as an input: there is no second, negative pass.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor, nn

from components.backbones.base import Condition
from components.backbones.controlnet import control_branch
from components.backbones.controlnet.flux_parts import freeze_unused, read_parts
from components.backbones.flow_controlnet import TOKEN, FlowControlNet
from components.settings import FluxControlNetSettings


class FluxControlNet(FlowControlNet):
    """A ControlNet on FLUX.1; see the module's docstring for the model."""

    SAMPLER = FlowControlNet.SAMPLER | {"guidance", "max_sequence_length"}
    READ = staticmethod(read_parts)
    FREEZE = staticmethod(freeze_unused)
    BLOCKS = ("transformer_blocks", "single_transformer_blocks")
    settings: FluxControlNetSettings

    def encode_prompt(self, prompt: str) -> Mapping[str, Tensor]:
        """`prompt` `[1, S, D]` of T5 and `pooled` `[1, P]` of CLIP."""
        length = self.settings.max_sequence_length
        words, pooled, _ = self.text.encode_prompt(prompt, prompt, device=self.text_device, max_sequence_length=length)
        return {"prompt": words, "pooled": pooled}

    def control_latents(self, latents: Tensor) -> Tensor:
        return latents

    @staticmethod
    def set_steps(
        scheduler: FlowMatchEulerDiscreteScheduler, steps: int, height: int, width: int, device: torch.device
    ) -> None:
        config = scheduler.config
        mu = calculate_shift(
            height * width // TOKEN**2,
            config.base_image_seq_len,
            config.max_image_seq_len,
            config.base_shift,
            config.max_shift,
        )
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0 / steps, steps), mu=mu, device=device)

    def velocity(
        self, control: nn.Module, latents: Tensor, condition: Condition, t: Tensor, sampling: bool = False
    ) -> Tensor:
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

        with self.control_precision(sampling):
            double, single = control(
                controlnet_cond=pack(condition.encodings["control"]),
                conditioning_scale=self.settings.conditioning_scale,
                return_dict=False,
                **inputs(control_branch.unwrapped(control), torch.float32),
            )
        dtype = self.transformer.dtype
        velocity: Tensor = self.transformer(
            controlnet_block_samples=_cast(double, dtype),
            controlnet_single_block_samples=_cast(single, dtype),
            return_dict=False,
            **inputs(self.transformer, dtype),
        )[0]
        return unpack(velocity.float(), height, width)


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
