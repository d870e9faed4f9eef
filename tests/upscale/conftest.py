from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from components.backbones.tiny_flow import TinyFlow, TinyFlowConfig


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with random weights: a small network whose restoration still depends on picture and noise."""
    torch.manual_seed(0)
    model = TinyFlow.new(TinyFlowConfig(channels=(16, 16)), steps=2, device=torch.device("cpu"))
    folder = tmp_path_factory.mktemp("model")
    model.save(folder)
    return folder


def photo(height: int, width: int) -> NDArray[np.uint8]:
    """A part of the astronaut's photo, `[height, width, 3]`."""
    from skimage import data  # noqa: PLC0415

    whole: NDArray[np.uint8] = data.astronaut()
    return np.ascontiguousarray(whole[:height, 60 : 60 + width])
