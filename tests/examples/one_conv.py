"""A family of backbones in one file: a residual flow whose picture is the nearest enlargement, and one convolution."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.backbones.base import Condition
from components.backbones.model_config import read_json
from components.backbones.residual_flow import ResidualFlow, ResidualFlowConfig, read_weights
from components.backbones.samplers.levels import saved_levels
from components.backbones.samplers.residual_euler import ResidualEuler
from components.settings import PixelFlowSettings
from components.settings.families import Family, Limits


class OneConvSettings(PixelFlowSettings):
    """What `backbone` takes beside `family`; a pixel-space flow's own settings are enough."""


class OneConv(nn.Module):
    """Predicts the residual from the noisy one, the picture and the noise level."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(7, 3, 3, padding=1)

    def forward(self, noisy: Tensor, context: Tensor, sigma: Tensor) -> Tensor:
        level = sigma.view(-1, 1, 1, 1).expand_as(noisy[:, :1])
        predicted: Tensor = self.layer(torch.cat([noisy, context, level], dim=1))
        return predicted


class OneConvFlow(ResidualFlow):
    """Everything but these three is `ResidualFlow`'s: noise, sampling, errors, digests, files."""

    def condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        return Condition(F.interpolate(lr.to(self.device), scale_factor=self.scale, mode="nearest"), prompts)

    def _picture(self, condition: Condition) -> Tensor:
        return condition.upsampled

    def _unit(self, condition: Condition) -> float:
        return 0.1

    def _context(self, condition: Condition) -> Tensor:
        return condition.upsampled * 2.0 - 1.0


def load(folder: Path, settings: OneConvSettings, device: torch.device) -> OneConvFlow:
    config = ResidualFlowConfig(**read_json(folder, "one_conv"))
    network = OneConv()
    network.load_state_dict(read_weights(folder, network.state_dict()))
    model = OneConvFlow(config, network, settings.steps, device)
    model.sampler = ResidualEuler(config.shift, settings.steps, settings.gain)
    return model


ONE_CONV = Family(
    load,
    settings=OneConvSettings,
    limits=Limits(frozenset({"gain", "steps"}), sampler_levels=True),
    levels=saved_levels,
)
