"""ControlNet on Stable Diffusion 3 or 3.5: a flow transformer with classifier-free guidance.

See `flow_controlnet` for what it shares with other flow transformers. Guidance belongs to sampling; training compares
the conditional predictions.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from components.backbones.base import Condition
from components.backbones.controlnet import control_branch
from components.backbones.controlnet.sd3_parts import freeze_unused, read_parts
from components.backbones.flow_controlnet import FlowControlNet
from components.errors import BadInput
from components.settings import SD3ControlNetSettings


class SD3ControlNet(FlowControlNet):
    """A ControlNet on Stable Diffusion 3; see the module's docstring for the model."""

    SAMPLER = FlowControlNet.SAMPLER | {"guidance_scale", "negative_prompt", "max_sequence_length"}
    READ = staticmethod(read_parts)
    FREEZE = staticmethod(freeze_unused)
    BLOCKS = ("transformer_blocks",)
    settings: SD3ControlNetSettings

    def condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        """As `FlowControlNet.condition`.

        Raises:
            BadInput: the LR has more than `max_lr_pixels` px, or its output is larger than the transformer has places.
        """
        places = min(network.config.pos_embed_max_size for network in (self.transformer, self._control))
        limit = places * self.multiple
        height, width = (side * self.scale for side in lr.shape[-2:])
        if max(height, width) > limit:
            raise BadInput(
                f"an output of {width} x {height} px is larger than the {limit} px a side that {self.settings.base} "
                "has places for: restore it in tiles, or shrink the LR"
            )
        return super().condition(lr, prompts)

    def encode_prompt(self, prompt: str) -> Mapping[str, Tensor]:
        """`prompt` `[1, S, D]` of CLIP and T5, and `pooled` `[1, P]` of both CLIPs."""
        words, _, pooled, _ = self.text.encode_prompt(
            prompt,
            prompt,
            prompt,
            device=self.text_device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.settings.max_sequence_length,
        )
        return {"prompt": words, "pooled": pooled}

    def control_latents(self, latents: Tensor) -> Tensor:
        """Without the VAE's shift for ControlNets that were trained so; they are those without pooled text."""
        if not self._control.config.force_zeros_for_pooled_projection:
            return latents
        shift: float = self.vae.config.shift_factor * self.vae.config.scaling_factor
        return latents + shift

    @staticmethod
    def set_steps(
        scheduler: FlowMatchEulerDiscreteScheduler, steps: int, height: int, width: int, device: torch.device
    ) -> None:
        scheduler.set_timesteps(steps, device=device)

    def velocity(
        self, control: nn.Module, latents: Tensor, condition: Condition, t: Tensor, sampling: bool = False
    ) -> Tensor:
        image, prompt, pooled = (condition.encodings[name] for name in ("control", "prompt", "pooled"))
        guided = sampling and self.settings.guidance_scale > 1.0
        if guided:
            negative = self.encoded(self.settings.negative_prompt)
            prompt = torch.cat([negative["prompt"].expand_as(prompt), prompt])
            pooled = torch.cat([negative["pooled"].expand_as(pooled), pooled])
            image, latents, t = (torch.cat([rows, rows]) for rows in (image, latents, t))
        timestep = t * self.scheduler.config.num_train_timesteps
        unpooled = self._control.config.force_zeros_for_pooled_projection
        with self.control_precision(sampling):
            (residuals,) = control(
                hidden_states=latents,
                controlnet_cond=image,
                conditioning_scale=self.settings.conditioning_scale,
                encoder_hidden_states=prompt.float(),
                pooled_projections=(torch.zeros_like(pooled) if unpooled else pooled).float(),
                timestep=timestep,
                return_dict=False,
            )
        dtype = self.transformer.dtype
        velocity: Tensor = self.transformer(
            hidden_states=latents.to(dtype),
            encoder_hidden_states=prompt,
            pooled_projections=pooled,
            timestep=timestep,
            block_controlnet_hidden_states=[residual.to(dtype) for residual in residuals],
            return_dict=False,
        )[0].float()
        if not guided:
            return velocity
        unconditional, conditional = velocity.chunk(2)
        return unconditional + self.settings.guidance_scale * (conditional - unconditional)

    @property
    def _control(self) -> Any:
        return control_branch.unwrapped(self.policy)
