"""Samplers that draw in their steps, for who needs the log-probability of a sample: DDPM is one, a flow gets one here.

On a flow's path x = (1 - s) x0 + s u e, with e standard normal and u the unit of the noise, the prediction v is the
mean of u e - x0, so x0_hat = x - s v, e_hat = (x + (1 - s) v) / u, and the score of x is -e_hat / (u s). For every
g(s) the equation

    dx = [v + g^2 / (2 u s) e_hat] ds + g dw        backwards, from s = 1 to 0

has the marginals of the flow's ODE (Song et al., arXiv 2011.13456; Flow-GRPO, arXiv 2505.05470, takes u = 1 and
g = a sqrt(s / (1 - s)), a = .7). Here g = a u sqrt(s / (1 - s)). Euler-Maruyama steps are no use where they are few:
the last one would leave noise of a whole step in the picture, and the first one divides by 0. So a step from s to s' is

    x' = (1 - s') x0_hat + u sqrt(s'^2 - d^2) e_hat + u d z
    d = a / sqrt(2) s' sqrt(1 - [s' (1 - s) / (s (1 - s'))]^2)

of which that equation is the limit for small steps. x' has the noise of level s' exactly, whatever the step's length,
and nothing is drawn in the last one, s' = 0. a = sqrt(2) is DDPM's posterior, a = 0 the ODE (the family of DDIM, arXiv
2010.02502; for flows Flow-CPS, arXiv 2509.05952).
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from components.backbones.base import Backbone, Condition
from components.backbones.residual_flow import ResidualFlow
from components.backbones.samplers.base import Sampler, Transition
from components.backbones.samplers.ddpm import DDPM
from components.backbones.samplers.flow_euler import EulerSteps, FlowEuler
from components.backbones.samplers.residual_euler import ResidualEuler
from components.errors import BadInput
from components.storage import digests

FULL_NOISE = math.sqrt(2.0)
"""a of DDPM's posterior, the most that leaves e_hat a real weight."""


@dataclass(frozen=True)
class FlowSteps:
    """See `Schedule`.

    Attributes:
        times: what the network is told, `[T]`.
        levels: sigmas of the states, `[T + 1]`, the last 0.
        unit: u.
        noise_level: a.
    """

    times: Tensor
    levels: Tensor
    unit: float
    noise_level: float

    def transition(self, step: int, predicted: Tensor, x: Tensor) -> Transition:
        here, there = (float(level) for level in self.levels[step : step + 2])
        clean, noise = x - here * predicted, x + (1.0 - here) * predicted  # the noise in its unit
        drawn = deviation(here, there, self.noise_level)
        kept = math.sqrt(max(there**2 - drawn**2, 0.0))
        mean = (1.0 - there) * clean + kept * noise
        return Transition(mean, torch.tensor(self.unit * drawn, device=x.device) if drawn else None)


def deviation(here: float, there: float, noise_level: float) -> float:
    """d of a step between two levels; 0 where it draws nothing."""
    if there <= 0.0:
        return 0.0
    left = there * (1.0 - here) / (here * (1.0 - there)) if there < 1.0 else 1.0
    return noise_level / FULL_NOISE * there * math.sqrt(max(1.0 - left**2, 0.0))


@dataclass(frozen=True)
class StochasticFlow:
    """A flow's own steps, with noise drawn in all but the last; see `Sampler` and the module's docstring.

    Attributes:
        euler: the ODE's sampler, whose levels, start and end it has.
        unit: u, the standard deviation of the noise at sigma = 1.
        noise_level: a, above 0 and at most sqrt(2).
    """

    euler: FlowEuler | ResidualEuler
    unit: float
    noise_level: float
    levels: tuple[float, ...] = ()

    @property
    def digest(self) -> str:
        return digests.of_json(["stochastic", self.euler.digest, self.euler.steps, self.unit, self.noise_level])

    def noise_shape(self, latent: tuple[int, ...]) -> tuple[int, ...]:
        """(steps, C, h, w): x_T, then the noise of every step but the last."""
        return (self.euler.steps, *latent)

    def start(self, backbone: Any, noise: Tensor) -> Tensor:
        return self.euler.start(backbone, noise[:, 0])

    def schedule(self, x: Tensor) -> FlowSteps:
        euler: EulerSteps = self.euler.schedule(x)
        return FlowSteps(euler.times, euler.levels, self.unit, self.noise_level)

    def finish(self, backbone: Any, x: Tensor, condition: Condition) -> Tensor:
        return self.euler.finish(backbone, x, condition)


def with_steps(sampler: Sampler[Any], steps: int) -> Sampler[Any]:
    """A sampler in another number of steps.

    Raises:
        BadInput: the model does not take so many, or the sampler is of another kind than this project's.
    """
    if not isinstance(sampler, DDPM | ResidualEuler | FlowEuler):
        raise BadInput(
            f"train.source.steps {steps}: {type(sampler).__name__} is no sampler of components/backbones/samplers/, so "
            "that its steps cannot be set: set it to null"
        )
    try:
        return replace(sampler, steps=steps)
    except BadInput as error:
        raise BadInput(f"train.source.steps {steps}: {error}") from error


def stochastic(backbone: Backbone, steps: int, noise_level: float) -> Sampler[Any]:
    """A sampler of the backbone's model that draws in all its steps but the last.

    Args:
        backbone: whose own sampler says which family of samplers it is.
        steps: of it.
        noise_level: a of a flow; DDPM has its own variance.

    Raises:
        BadInput: the model does not take so many steps, or it has a sampler of another kind.
    """
    sampler = backbone.sampler
    if not isinstance(sampler, DDPM | ResidualEuler | FlowEuler):
        raise BadInput(
            f"train.source prdp draws in every step of a sampling, and {type(sampler).__name__} has no such steps: set "
            "it to pairs or nft, or give the backbone one of the samplers in components/backbones/samplers/"
        )
    own = with_steps(sampler, steps)
    if isinstance(own, DDPM):
        return own
    assert isinstance(own, ResidualEuler | FlowEuler)  # as what it was made of
    return StochasticFlow(own, backbone.config.kappa if isinstance(backbone, ResidualFlow) else 1.0, noise_level)
