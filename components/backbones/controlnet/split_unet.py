"""A frozen UNet2DConditionModel in two halves: what a ControlNet's residuals cannot change, and what they can.

A ControlNet adds its residuals to the skip connections and to the middle's output, so the down blocks and the middle
see none of them: for two control branches on the same noisy latents they run once, and only the up path runs twice.
"""

from typing import Any, NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from components.errors import BadInput

UNSUPPORTED = (
    "class_embed_type",
    "num_class_embeds",
    "addition_embed_type",
    "encoder_hid_dim",
    "encoder_hid_dim_type",
    "time_cond_proj_dim",
    "time_embedding_act_fn",
    "center_input_sample",
)
"""Options of UNet2DConditionModel that no Stable Diffusion 1.x or 2.x text-to-image model sets."""


class Features(NamedTuple):
    """What the up path needs of the first half.

    Attributes:
        skips: outputs of the first convolution and of every layer of the down blocks, `[B, C, h, w]` each.
        middle: output of the middle block.
        time: time embedding `[B, D]`.
    """

    skips: tuple[Tensor, ...]
    middle: Tensor
    time: Tensor


def check_plain(config: dict[str, Any], setting: str) -> None:
    """Refuse a UNet that takes more than a latent, a time and a text.

    Raises:
        BadInput: it does (SDXL, unCLIP, image variations …).
    """
    found = [name for name in UNSUPPORTED if config.get(name)]
    if found:
        raise BadInput(
            f"{setting}: its UNet sets {', '.join(found)}, so it is no Stable Diffusion 1.x or 2.x text-to-image "
            "model; choose one of those, such as SD 2.0-base"
        )


class SplitUNet:
    """Down blocks and middle, then the up path, of one frozen UNet.

    Args:
        unet: in evaluation mode; checked by `check_plain`. Its precision and place are its own.
        compile_backend: of torch.compile; None leaves it as it is.
    """

    def __init__(self, unet: UNet2DConditionModel, compile_backend: str | None = None) -> None:
        self.unet = unet
        self.down = torch.compile(self._down, backend=compile_backend) if compile_backend else self._down
        self.up = torch.compile(self._up, backend=compile_backend) if compile_backend else self._up

    @torch.no_grad()
    def _down(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Features:
        """Noisy latents `[B, C, h, w]`, integer timesteps `[B]` and text `[B, L, D]` to features."""
        unet, text = self.unet, text.to(self.unet.dtype)
        hidden = noisy.to(unet.dtype)
        time = unet.time_embedding(unet.get_time_embed(sample=hidden, timestep=timesteps))
        hidden = unet.conv_in(hidden)
        skips = [hidden]
        for block in unet.down_blocks:
            hidden, outputs = block(hidden, time, **_text_of(block, text))
            skips.extend(outputs)
        if unet.mid_block is not None:
            hidden = unet.mid_block(hidden, time, **_text_of(unet.mid_block, text))
        return Features(tuple(skips), hidden, time)

    def _up(self, features: Features, text: Tensor, down_residuals: list[Tensor], middle_residual: Tensor) -> Tensor:
        """The UNet's output `[B, C, h, w]` with a control branch's residuals; gradients flow to these alone."""
        unet, text = self.unet, text.to(self.unet.dtype)
        pairs = zip(features.skips, down_residuals, strict=True)
        # Residuals take the precision of what they are added to: `accelerate` makes the policy's float32 whatever they
        # were computed in, and then policy and reference would round differently.
        skips = [skip + residual.to(skip.dtype) for skip, residual in pairs]
        hidden = features.middle + middle_residual.to(features.middle.dtype)
        for block in unet.up_blocks:
            count = len(block.resnets)
            own, skips = tuple(skips[-count:]), skips[:-count]
            # The size is named because latents need not be a multiple of the down-sampling.
            size = skips[-1].shape[2:] if skips else None
            hidden = block(hidden, own, features.time, **_text_of(block, text), upsample_size=size)
        if unet.conv_norm_out is not None:
            hidden = unet.conv_act(unet.conv_norm_out(hidden))
        output: Tensor = unet.conv_out(hidden)
        return output


def _text_of(block: Any, text: Tensor) -> dict[str, Tensor]:
    return {"encoder_hidden_states": text} if getattr(block, "has_cross_attention", False) else {}
