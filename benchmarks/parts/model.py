"""The backbone and the images that the parts measure with."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.artifacts.images import to_tensor
from components.backbones.tiny_flow import TinyFlow, TinyFlowConfig
from components.photos.reading import read_photo

PHOTO = Path("data/photos/cat.jpg")
SIDE, SCALE = 128, 4


def backbone(folder: Path | None, steps: int) -> TinyFlow:
    """The model of `folder`, or one of the same size with random weights: speed does not depend on them."""
    if folder is not None:
        return TinyFlow.load(folder, steps, torch.device("cpu"))
    torch.manual_seed(0)
    return TinyFlow.new(TinyFlowConfig(), steps, torch.device("cpu"))


def crop(root: Path) -> NDArray[np.uint8]:
    """The middle of a committed photo, `[SIDE, SIDE, 3]`."""
    photo = read_photo((root / PHOTO).read_bytes(), SIDE, 10**8)
    top, left = (photo.shape[0] - SIDE) // 2, (photo.shape[1] - SIDE) // 2
    return np.ascontiguousarray(photo[top : top + SIDE, left : left + SIDE])


def group(root: Path, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """HR `[1, 3, SIDE, SIDE]`, its LR, and `count` noisy versions of the HR that stand for candidates."""
    hr = to_tensor(crop(root))
    lr = torch.nn.functional.avg_pool2d(hr, SCALE)
    generator = torch.Generator().manual_seed(0)
    strengths = torch.linspace(0.01, 0.05, count).view(-1, 1, 1, 1)
    candidates = (hr + strengths * torch.randn((count, *hr.shape[1:]), generator=generator)).clamp(0, 1)
    return hr, lr, candidates
