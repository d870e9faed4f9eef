"""The example of a family: loaded by its row, restored with, trained, and refused where its limits say so."""

from functools import partial
from pathlib import Path

import pytest
import torch

from components.backbones.base import Backbone, candidate_noise
from components.backbones.loading import load_model
from components.backbones.residual_flow import ResidualFlowConfig
from components.backbones.restore import restore
from components.settings import BACKBONE
from tests.examples.one_conv import OneConv, OneConvFlow, OneConvSettings

CPU = torch.device("cpu")


@pytest.fixture
def model(tmp_path: Path) -> Backbone:
    torch.manual_seed(0)
    OneConvFlow(ResidualFlowConfig(scale=2), OneConv(), 3, CPU).save(tmp_path)
    block = {"family": "tests.examples.one_conv:ONE_CONV", "path": tmp_path, "steps": 3, "colour_fix": "adain"}
    settings = BACKBONE.validate_python(block)
    assert isinstance(settings, OneConvSettings)
    assert settings.stored_scale() == 2
    return load_model(tmp_path, settings, CPU)


def test_it_restores(model: Backbone) -> None:
    lr = torch.rand(2, 3, 5, 7, generator=torch.manual_seed(0))
    draws = [partial(candidate_noise, name, index) for name in "ab" for index in range(3)]
    (samples,) = restore(model, lr, ("", ""), draws, "adain", "reference")
    assert samples.images.shape == (6, 3, 10, 14)
    assert samples.latents is None
    (alone,) = restore(model, lr[1:], ("",), draws[3:], "adain", "reference")
    assert torch.equal(alone.images, samples.images[3:])


def test_it_trains(model: Backbone) -> None:
    """A few steps towards an image lower the policy's error, and leave the reference's."""
    lr = torch.rand(1, 3, 5, 7, generator=torch.manual_seed(0))
    condition = model.condition(lr, ("",))
    clean = model.encode(torch.rand(1, 3, 10, 14, generator=torch.manual_seed(1)))
    noise = torch.randn(clean.shape, generator=torch.manual_seed(2))
    optimizer = torch.optim.Adam(model.policy.parameters(), lr=0.05)
    first, at_first = model.errors(clean, condition, torch.tensor([0.7]), noise)
    assert first.item() == at_first.item()
    for _ in range(30):
        policy, _ = model.errors(clean, condition, torch.tensor([0.7]), noise)
        optimizer.zero_grad()
        policy.sum().backward()
        optimizer.step()
    policy, reference = model.errors(clean, condition, torch.tensor([0.7]), noise)
    assert policy.item() < 0.7 * first.item()
    assert reference.item() == at_first.item()
