from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from components.artifacts.images import to_tensor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def hr() -> torch.Tensor:
    """A crop of a committed photo, `[1, 3, 128, 128]`."""
    with Image.open(ROOT / "data/photos/astronaut.jpg") as photo:
        return to_tensor(np.asarray(photo.convert("RGB"))[60:188, 150:278])


@pytest.fixture(scope="session")
def lr(hr: torch.Tensor) -> torch.Tensor:
    return F.interpolate(hr, (32, 32), mode="bicubic", antialias=True).clamp(0, 1)


@pytest.fixture(scope="session")
def candidates(hr: torch.Tensor, lr: torch.Tensor) -> torch.Tensor:
    """The hr, three strengths of noise, and the enlarged LR, `[5, 3, 128, 128]`."""
    generator = np.random.default_rng(0)
    noise = torch.from_numpy(generator.standard_normal(hr.shape, dtype=np.float32))
    enlarged = F.interpolate(lr, (128, 128), mode="bicubic")
    return torch.cat([hr, *(hr + sigma * noise for sigma in (0.02, 0.05, 0.1)), enlarged]).clamp(0, 1)
