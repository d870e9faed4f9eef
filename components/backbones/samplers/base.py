"""What a sampler is: the steps from noise to clean latents, whoever predicts.

`moves` is the only loop. A sampler says where it starts, which steps it takes and what its end is in latents; a step is
a normal distribution, so that a stochastic sampler's log-probabilities are those of `Move.transition` at `Move.drawn`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from components.backbones.base import Backbone, Condition, Source

Of_contra = TypeVar("Of_contra", bound=Backbone, contravariant=True)
"""The backbones that a sampler is for."""


@dataclass(frozen=True)
class Transition:
    """p(x_{t-1} | x_t): normal, independent in every element.

    Attributes:
        mean: `[B, ...]`.
        std: of every element; None where nothing is drawn, as in every step of an ODE's sampler and in DDPM's last.
    """

    mean: Tensor
    std: Tensor | None = None

    def log_prob(self, drawn: Tensor) -> Tensor:
        """Log-density of `drawn` `[B, ...]`, the mean over its elements, `[B]` float64: nats an element.

        In float64, since what is used are differences of such values, a thousandth of them and less.

        Raises:
            ValueError: nothing is drawn in this step.
        """
        if self.std is None:
            raise ValueError("a step that draws nothing has no density")
        std = self.std.double()
        apart = (drawn.double() - self.mean.double()) / std
        return (-0.5 * apart.square() - std.log() - 0.5 * math.log(2.0 * math.pi)).flatten(1).mean(dim=1)


@dataclass(frozen=True)
class Move:
    """One step of a sampling.

    Attributes:
        x: state before, `[B, ...]`.
        t: its time in (0, 1], a number.
        transition: where it may go.
        drawn: state after.
    """

    x: Tensor
    t: Tensor
    transition: Transition
    drawn: Tensor


class Schedule(Protocol):
    """The steps of one sampling; it may keep state, so each sampling asks for its own."""

    @property
    def times(self) -> Tensor:
        """Times in (0, 1] of the steps, from the noisiest, `[T]`, on the state's device."""

    def transition(self, step: int, predicted: Tensor, x: Tensor) -> Transition:
        """Of step number `step` from `x`, given the prediction there; steps are asked for in their order."""


class Sampler(Protocol[Of_contra]):
    """See the module's docstring."""

    @property
    def digest(self) -> str:
        """sha256 of all settings that determine what is sampled, beside the weights."""

    @property
    def levels(self) -> tuple[float, ...]:
        """Times of the steps where they are the same for every picture and training may draw from them; else none."""

    def noise_shape(self, latent: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one candidate's whole noise, see `Backbone.noise_shape`, for latents of shape `latent`."""

    def start(self, backbone: Of_contra, noise: Tensor) -> Tensor:
        """x_T `[B, ...]` of noise `[B, *noise_shape]`."""

    def schedule(self, x: Tensor) -> Schedule:
        """Steps for a sampling that starts at `x`."""

    def finish(self, backbone: Of_contra, x: Tensor, condition: Condition) -> Tensor:
        """Clean latents of the last state."""


def moves(
    sampler: Sampler[Any], backbone: Backbone, condition: Condition, noise: Tensor, source: Source
) -> Iterator[Move]:
    """The steps of a sampling, one after the other; the last `drawn` is what `sampler.finish` takes.

    The state is float32 between steps, whatever the networks' dtype. Gradients flow where the caller lets them.

    Args:
        condition: of B rows.
        noise: `[B, *noise_shape]`; the noise of step i, where it draws any, is `noise[:, i + 1]`.
        source: who predicts.
    """
    noise = noise.to(backbone.device, torch.float32)
    x = sampler.start(backbone, noise)
    schedule = sampler.schedule(x)
    times = schedule.times
    predict = backbone.predictor(source) if isinstance(source, str) else source.predictor(backbone, times)
    for step, t in enumerate(times):
        transition = schedule.transition(step, predict(x, t.expand(len(x)), condition), x)
        drawn = transition.mean
        if transition.std is not None:
            drawn = transition.mean + transition.std * noise[:, step + 1]
        yield Move(x, t, transition, drawn)
        x = drawn
