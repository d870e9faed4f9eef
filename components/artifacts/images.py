"""Between 8-bit images on disk and float tensors in models and metrics."""

import numpy as np
import torch
from numpy.typing import NDArray


def to_tensor(*images: NDArray[np.uint8] | NDArray[np.uint16]) -> torch.Tensor:
    """Images `[H, W, 3]` of one size, of 8 or 16 bits, as a float32 batch `[B, 3, H, W]` in [0, 1]."""
    stacked = np.stack(images)
    if stacked.dtype == np.uint16:
        scaled = np.divide(stacked, np.float32(65535.0), dtype=np.float32)
        return torch.from_numpy(scaled).permute(0, 3, 1, 2).contiguous()
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).to(torch.float32).div_(255.0).contiguous()


def to_8bit(batch: torch.Tensor) -> NDArray[np.uint8]:
    """A float batch `[B, 3, H, W]` in [0, 1] (clamped) as 8-bit images `[B, H, W, 3]`, rounded to nearest."""
    scaled = batch.detach().float().clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def to_16bit(batch: torch.Tensor) -> NDArray[np.uint16]:
    """The same with 16 bits."""
    scaled = batch.detach().double().clamp(0.0, 1.0).mul(65535.0).round().permute(0, 2, 3, 1)
    return scaled.contiguous().cpu().numpy().astype(np.uint16)
