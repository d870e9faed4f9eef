"""The smallest model of each kind of sampler."""

from collections.abc import Callable

import pytest
import torch

from components.backbones.base import Backbone
from components.backbones.flux_controlnet import FluxControlNet
from components.backbones.sd2_controlnet import SD2ControlNet
from tests.backbones import tiny_flux
from tests.backbones.tiny_pipelines import sd_settings, write_sd_base, write_sd_control
from tests.made import tiny_model

CPU = torch.device("cpu")
Loader = Callable[[], Backbone]


@pytest.fixture(scope="module")
def sd2(tmp_path_factory: pytest.TempPathFactory) -> Loader:
    root = tmp_path_factory.mktemp("sd2")
    base = write_sd_base(root / "base")
    control = write_sd_control(root / "control", base)
    return lambda: SD2ControlNet.load(control, sd_settings(base, control), CPU)


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Loader:
    root = tmp_path_factory.mktemp("flux")
    base, control = tiny_flux.write_base(root / "base"), tiny_flux.write_control(root / "control")
    return lambda: FluxControlNet.load(control, tiny_flux.flux_settings(base, control), CPU)


@pytest.fixture
def tiny() -> Loader:
    return lambda: tiny_model(steps=3)
