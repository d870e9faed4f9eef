"""A tiny FLUX and a ControlNet for it, written once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.backbones.flux_controlnet import FluxControlNet
from tests.backbones.tiny_flux import flux_settings, write_base, write_control

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("flux") / "base")


@pytest.fixture(scope="session")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_control(tmp_path_factory.mktemp("flux") / "control")


@pytest.fixture
def load(base: Path, control: Path) -> Callable[..., FluxControlNet]:
    def loaded(folder: Path = control, **changes: Any) -> FluxControlNet:
        return FluxControlNet.load(folder, flux_settings(base, control, **changes), CPU)

    return loaded
