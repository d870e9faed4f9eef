"""Between 8-bit images on disk and float tensors in models and metrics."""

import numpy as np
import torch
from numpy.typing import NDArray


def to_tensor(*images: NDArray[np.uint8]) -> torch.Tensor:
    """8-bit images `[H, W, 3]` of one size as a float32 batch `[B, 3, H, W]` in [0, 1]."""
    stacked = np.stack(images)
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).to(torch.float32).div_(255.0).contiguous()


def to_8bit(batch: torch.Tensor) -> NDArray[np.uint8]:
    """A float batch `[B, 3, H, W]` in [0, 1] (clamped) as 8-bit images `[B, H, W, 3]`, rounded to nearest."""
    scaled = batch.detach().float().clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def as_8bit(image: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    """8 or 16 bits with 8 bits, rounded to nearest."""
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    return _NEAREST[image]


_NEAREST = ((np.arange(65536, dtype=np.int64) * 255 + 32767) // 65535).astype(np.uint8)
