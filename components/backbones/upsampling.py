"""LR images at the output size, as every latent-diffusion family sees them."""

import torch.nn.functional as F
from torch import Tensor

from components.errors import BadInput


def upsample(lr: Tensor, scale: int, max_pixels: int) -> Tensor:
    """LR `[B, 3, h, w]` in [0, 1] at `scale` times its size, bicubic, within [0, 1].

    Raises:
        BadInput: an LR image has more than `max_pixels` px.
    """
    height, width = lr.shape[-2:]
    if height * width > max_pixels:
        raise BadInput(
            f"an LR image of {width} x {height} px has more than backbone.max_lr_pixels {max_pixels}: restore it in "
            "tiles, shrink it, or raise the limit if the memory is there"
        )
    return F.interpolate(lr, scale_factor=scale, mode="bicubic", antialias=False, align_corners=False).clamp(0.0, 1.0)
