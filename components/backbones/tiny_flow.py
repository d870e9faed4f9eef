"""The smallest model, for tests: a flow from the upsampled LR plus noise to the HR image (`residual_flow`).

The picture is the bicubic enlargement and the residual's unit one number, its standard deviation over the training
data. All of the network is the policy; there is no frozen part to share.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.backbones.base import Condition
from components.backbones.dial import DialledNetwork
from components.backbones.model_config import CONFIG, read_json
from components.backbones.residual_flow import (
    ResidualFlow,
    ResidualFlowConfig,
    model_digest,
    read_weights,
    stored_weights,
)
from components.backbones.samplers.residual_euler import ResidualEuler
from components.backbones.without_quantisation import without_quantisation
from components.errors import BadInput
from components.settings import TinyFlowSettings


@dataclass(frozen=True)
class TinyFlowConfig(ResidualFlowConfig):
    """Everything but the weights.

    Attributes:
        unshuffle: pixels per side folded into channels; the network works at 1/unshuffle of the output size.
        channels: width of each resolution level.
        layers: residual blocks per level.
        residual_std: s, the standard deviation of HR - up(LR) over the training data, in [0, 1] image units.
    """

    unshuffle: int = 2
    channels: tuple[int, ...] = (32, 64, 96)
    layers: int = 1
    residual_std: float = 0.1


class ResidualUNet(DialledNetwork):
    """diffusers' UNet2DModel on pixel-unshuffled input, `[B, 3, H, W]` in and out."""

    def __init__(self, config: TinyFlowConfig) -> None:
        # Imported on demand: diffusers takes 6 s of CPU time, and who finds all in a cache needs none.
        with without_quantisation():
            from diffusers import UNet2DModel  # noqa: PLC0415

        super().__init__()
        self.unshuffle = config.unshuffle
        folded = 3 * config.unshuffle**2
        levels = len(config.channels)
        self.multiple = config.unshuffle * 2 ** (levels - 1)
        self.unet = UNet2DModel(
            in_channels=2 * folded,
            out_channels=folded,
            block_out_channels=config.channels,
            layers_per_block=config.layers,
            norm_num_groups=8,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            add_attention=False,
        )
        if config.dial:
            self.add_dial()

    @property
    def embedding_width(self) -> int:
        return int(self.unet.time_embedding.linear_2.out_features)

    def add_dial(self) -> None:
        super().add_dial()
        self.unet.class_embedding = nn.Identity()  # what is given as class labels is added to the embedding as it is

    def forward(self, noisy: Tensor, upsampled: Tensor, sigma: Tensor, preference: Tensor | None = None) -> Tensor:
        """Predict the scaled residual from `noisy` and `upsampled` (centred) `[B, 3, H, W]`, sigma `[B]` in (0, 1].

        `preference` `[B]` is told to the dial.

        Sizes that folding and down-sampling do not divide are padded for the network, and its output is cropped.
        """
        height, width = noisy.shape[-2:]
        both = F.pad(
            torch.cat([noisy, upsampled], dim=1), (0, -width % self.multiple, 0, -height % self.multiple), "replicate"
        )
        folded = F.pixel_unshuffle(both, self.unshuffle)
        added = None if self.dial is None else self.told(folded.new_zeros(len(folded), 1), preference)
        predicted: Tensor = self.unet(folded, sigma * 1000.0, added, return_dict=False)[0]
        return F.pixel_shuffle(predicted, self.unshuffle)[..., :height, :width]


class TinyFlow(ResidualFlow):
    """The smallest backbone; see the module's docstring for the model."""

    config: TinyFlowConfig

    @classmethod
    def new(cls, config: TinyFlowConfig, steps: int, device: torch.device) -> "TinyFlow":
        """A model with fresh weights from torch's global generator."""
        return cls(config, ResidualUNet(config), steps, device)

    @classmethod
    def load(cls, folder: Path, steps: int, device: torch.device) -> "TinyFlow":
        """Policy and reference from a saved folder.

        Raises:
            BadInput: a file is missing or does not hold this kind of model.
        """
        config = read_config(folder)
        policy = ResidualUNet(config)
        policy.load_state_dict(read_weights(folder, policy.state_dict()))
        return cls(config, policy, steps, device)

    def condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        upsampled = F.interpolate(
            lr.to(self.device), scale_factor=self.config.scale, mode="bicubic", antialias=False, align_corners=False
        )
        return Condition(upsampled.clamp(0.0, 1.0), prompts)

    def _picture(self, condition: Condition) -> Tensor:
        return condition.upsampled

    def _unit(self, condition: Condition) -> float:
        return self.config.residual_std

    def _context(self, condition: Condition) -> Tensor:
        return condition.upsampled * 2.0 - 1.0


def load(folder: Path, settings: TinyFlowSettings, device: torch.device) -> TinyFlow:
    """The model in `folder`, sampled as the settings say.

    Raises:
        BadInput: as `TinyFlow.load`.
    """
    model = TinyFlow.load(folder, settings.steps, device)
    model.sampler = ResidualEuler(model.config.shift, settings.steps, settings.gain)
    return model


def saved_digests(settings: TinyFlowSettings) -> tuple[str, str]:
    """Digests of the model that `load` would give, and of its sampler, without building the network.

    Raises:
        BadInput: a file is missing or damaged, or the model does not take so many steps. Whether weights and
            configuration fit together shows in `load`.
    """
    config = read_config(settings.path)
    sampler = ResidualEuler(config.shift, settings.steps, settings.gain)
    return model_digest(config, stored_weights(settings.path)), sampler.digest


def read_config(folder: Path) -> TinyFlowConfig:
    """Configuration of a saved model.

    Raises:
        BadInput: the file is missing, is not JSON, or has other keys.
    """
    values = read_json(folder, "tiny_flow")
    try:
        return TinyFlowConfig(**{**values, "channels": tuple(values["channels"])})
    except (TypeError, KeyError) as error:
        raise BadInput(f"{folder / CONFIG} does not describe a tiny_flow model ({error})") from error
