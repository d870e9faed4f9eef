"""The second part of the recipe: samples that a discriminator does not tell from photographs.

A flow of this size, trained by squared errors alone, leaves grain and ragged edges where the restorer's picture had
clean ones: its last prediction is a mean over what it cannot know, and its own earlier steps lead it to states that
training never showed. So the branch is rolled out as the sampler does it, and the prediction of the last step is judged
by a patch discriminator (Isola et al., arXiv 1611.07004; hinge loss), with feature matching (Wang et al., arXiv
1711.11585). No metric of this project has a part in it.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from components.backbones.base import Condition
from components.backbones.residual_flow import sigmas
from components.backbones.restorer_flow import COARSE, UNIT, RestorerFlow, context

ROLL_OUT_STEPS = 4
"""Euler steps to the state whose prediction is judged: half of what the sampler takes."""


class Discriminator(nn.Module):
    """Patches of 30 px: real or made; sees the image, its residual in units, and the restorer's picture."""

    def __init__(self) -> None:
        super().__init__()
        widths, strides = (9, 32, 64, 96, 128), (1, 2, 2, 1)
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(before, after, 3 if stride == 1 else 4, stride, 1))
            for before, after, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.last = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, residual: Tensor, condition: Condition) -> tuple[Tensor, list[Tensor]]:
        """Logits `[B, 1, h, w]` of residuals `[B, 3, H, W]` in units, and the features of each layer."""
        picture, unit = condition.encodings[COARSE], condition.encodings[UNIT]
        x = torch.cat([(picture + residual * unit) * 2.0 - 1.0, residual * 0.5, picture * 2.0 - 1.0], dim=1)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        logits: Tensor = self.last(x)
        return logits, features


@dataclass(frozen=True)
class Weights:
    """Of the losses beside the flow's own."""

    adversary: float
    features: float


def roll_out(model: RestorerFlow, condition: Condition, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The state in which the sampler takes its last step, or its last but one, and its sigma; no gradient.

    Where the last step begins differs from draw to draw, so that other numbers of steps stay good as well.
    """
    coarse = condition.encodings[COARSE]
    noise = torch.randn(coarse.shape, generator=generator).to(coarse.device)
    last = 0.3 + 0.35 * torch.rand((), generator=generator).item()
    levels = [sigma for sigma in sigmas(model.config.shift, ROLL_OUT_STEPS * 2)[::2] if sigma > last] + [last]
    x = noise * model.config.kappa
    seen = context(condition)
    with torch.no_grad():
        for level, following in pairwise(levels):
            predicted = model.policy(x, seen, x.new_full((len(x),), level))
            x = x + (following - level) * (x - predicted) / level
    return x, x.new_full((len(x),), last)


@dataclass
class Adversary:
    """A discriminator with its optimiser."""

    network: Discriminator
    optimizer: torch.optim.Optimizer

    @classmethod
    def new(cls, device: torch.device, learning_rate: float) -> "Adversary":
        """Fresh weights from torch's global generator."""
        network = Discriminator().to(device).to(memory_format=torch.channels_last)
        return cls(network, torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.5, 0.99)))

    def loss_of_branch(self, made: Tensor, real: Tensor, condition: Condition, weights: Weights) -> Tensor:
        """What the branch is to lower."""
        self.network.requires_grad_(False)
        logits, features = self.network(made, condition)
        with torch.no_grad():
            _, wanted = self.network(real, condition)
        distances = [F.l1_loss(found, goal) for found, goal in zip(features, wanted, strict=True)]
        matching = torch.stack(distances).mean()
        self.network.requires_grad_(True)
        loss: Tensor = weights.features * matching - weights.adversary * logits.mean()
        return loss

    def step(self, made: Tensor, real: Tensor, condition: Condition) -> float:
        """One step of the discriminator's own; gives its hinge loss."""
        logits_real, _ = self.network(real, condition)
        logits_made, _ = self.network(made.detach(), condition)
        loss = F.relu(1.0 - logits_real).mean() + F.relu(1.0 + logits_made).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
