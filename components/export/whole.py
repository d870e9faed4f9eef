"""A pixel-space model as one network: an LR image and noise in, the restoration out, with every step of the sampler.

What it does is what `restore` does; the loop, the model's parts and the colour fix are the same code.
"""

import copy
from collections import deque

import torch
from torch import Tensor, nn

from components.backbones.base import Backbone, Branches, Condition, Predictor
from components.backbones.colour import ColourFix, fix_colours
from components.backbones.residual_flow import ResidualFlow
from components.backbones.samplers.base import moves
from components.errors import BadInput
from components.export.resizes import AsConvolutions
from components.upscale.upscaler import Upscaler

LR, NOISE, HR = "lr", "noise", "hr"
"""Names of the inputs and the output."""
EXAMPLE = (19, 26)
"""LR px that an export is traced on, height and width; no level of a network divides them."""


class _Policy:
    """Who predicts: the network itself, not the copy for sampling that a branch makes anew in each call."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def digest(self, branches: Branches) -> str:
        return branches.digest("policy")

    def predictor(self, backbone: Backbone, times: Tensor) -> Predictor:
        assert isinstance(backbone, ResidualFlow)  # `whole_of` has seen to it
        return lambda x, t, condition: backbone.velocity(self.network, x, condition, t)


class Whole(nn.Module):
    """LR `[1, 3, h, w]` in [0, 1] and standard normal noise `[1, 3, n h, n w]` to `[1, 3, s h, s w]` in [0, 1].

    One picture a call: where several were given, some parts work one by one in any case.

    Attributes:
        scale: s.
        noise_scale: n.
    """

    def __init__(self, model: ResidualFlow, colour_fix: ColourFix) -> None:
        super().__init__()
        self.scale = model.scale
        self.noise_scale = noise_scale(model)
        self._model, self._colour_fix = model, colour_fix
        self.policy = copy.deepcopy(model.policy).eval()
        self.frozen = nn.ModuleList(model.frozen_networks)  # named, so that weights that are used twice are saved once

    def forward(self, lr: Tensor, noise: Tensor) -> Tensor:
        """See the class."""
        model = self._model
        with AsConvolutions():
            condition: Condition = model.fresh_condition(lr, ("",))
            (last,) = deque(moves(model.sampler, model, condition, noise, _Policy(self.policy)), maxlen=1)
            images = model.decode(model.sampler.finish(model, last.drawn, condition), condition)
            return fix_colours(images, condition.upsampled, self._colour_fix)


def noise_scale(model: ResidualFlow) -> int:
    """Noise side over LR side.

    Raises:
        BadInput: it is no whole number.
    """
    side = 32
    sides = model.noise_shape(model.scale * side, model.scale * side)[-2:]
    if sides[0] % side:
        raise BadInput("this model's noise is no whole number of times the LR, which onnx and torchscript would need")
    return sides[0] // side


def whole_of(upscaler: Upscaler, wanted: str) -> Whole:
    """The upscaler's policy.

    Raises:
        BadInput: it is no pixel-space flow.
    """
    if not isinstance(upscaler.backbone, ResidualFlow):
        raise BadInput(
            f"--format {wanted} is for pixel-space flows such as the embedded model, whose sampling is one small "
            "network; of a ControlNet take --format diffusers, and optimum-cli makes ONNX of that folder part by part; "
            "a family of your own leaves as the folder that its `save` writes"
        )
    if upscaler.backbone.has_dial:
        raise BadInput(
            f"--format {wanted}: this model has a dial, which takes a preference as a third input; export the model of "
            "a training without pair.dial, or use the folder with this project"
        )
    upscaler.backbone.device = torch.device("cpu")
    return Whole(upscaler.backbone, upscaler.colour_fix).eval()


def example(whole: Whole, height: int = EXAMPLE[0], width: int = EXAMPLE[1]) -> tuple[Tensor, Tensor]:
    """Inputs of a size, `lr` and `noise`."""
    generator = torch.Generator("cpu").manual_seed(0)
    lr = torch.rand(1, 3, height, width, generator=generator)
    noise = torch.randn(1, 3, height * whole.noise_scale, width * whole.noise_scale, generator=generator)
    return lr, noise
