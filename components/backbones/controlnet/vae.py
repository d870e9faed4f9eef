"""Images to latents and back, through the frozen VAE of a latent-diffusion model."""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor


def downsampling(vae: AutoencoderKL) -> int:
    """Pixels a latent, per side."""
    factor: int = 2 ** (len(vae.config.block_out_channels) - 1)
    return factor


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Images `[B, C, H, W]` with their last row and column repeated until `multiple` divides both sides."""
    height, width = images.shape[-2:]
    if height % multiple == 0 and width % multiple == 0:
        return images
    return F.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")


@torch.no_grad()
def encode(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Images `[B, 3, H, W]` in [0, 1] to scaled latents `[B, C, h, w]`, float32: the mode of the distribution.

    One by one: the memory of a VAE at full resolution is what limits a batch, and a row's bits must not depend on it.
    """
    # In the VAE's own precision, whatever the caller's autocast: latents are the same in training and in generation.
    with torch.autocast(images.device.type, enabled=False):
        rows = [
            vae.encode((image * 2.0 - 1.0).to(vae.device, vae.dtype)).latent_dist.mode().float()
            for image in images.split(1)
        ]
    scale: float = vae.config.scaling_factor
    return (torch.cat(rows) - _shift(vae)) * scale


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Scaled latents `[B, C, h, w]` to images `[B, 3, H, W]` in [0, 1], float32; one by one, as `encode`."""
    unscaled = latents / vae.config.scaling_factor + _shift(vae)
    with torch.autocast(latents.device.type, enabled=False):
        rows = [vae.decode(row.to(vae.dtype), return_dict=False)[0].float() for row in unscaled.split(1)]
    return (torch.cat(rows) / 2.0 + 0.5).clamp(0.0, 1.0)


def _shift(vae: AutoencoderKL) -> float:
    return float(vae.config.shift_factor or 0.0)  # None in Stable Diffusion's configurations
