"""Deterministic Euler steps of a flow in latent space, as diffusers' scheduler takes them.

x_sigma = (1 - sigma) x0 + sigma * epsilon, and the velocity epsilon - x0 is predicted; t is sigma (Esser et al.,
arXiv 2403.03206).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from components.backbones.base import Backbone, Condition
from components.backbones.samplers.base import Transition


class EulerSteps:
    """One sampling with a scheduler whose steps are set.

    Args:
        scheduler: diffusers' FlowMatchEulerDiscreteScheduler; it counts its steps.
        times: what the network is told, `[T]`.
    """

    def __init__(self, scheduler: Any, times: Tensor) -> None:
        self._scheduler = scheduler
        self.times = times

    @property
    def levels(self) -> Tensor:
        """Sigmas of the states, from the noisiest to the clean one's, `[T + 1]`."""
        levels: Tensor = self._scheduler.sigmas
        return levels

    def transition(self, step: int, predicted: Tensor, x: Tensor) -> Transition:
        return Transition(self._scheduler.step(predicted, self._scheduler.timesteps[step], x, return_dict=False)[0])


@dataclass(frozen=True)
class FlowEuler:
    """The sampler of stock pipelines.

    Attributes:
        scheduler: of the base model, FlowMatchEulerDiscreteScheduler.
        steps: Euler steps.
        set_steps: sets them in a scheduler for latents of height x width on a device, as the family's stock pipeline.
        digest: see `Sampler`.
    """

    scheduler: Any
    steps: int
    set_steps: Callable[[Any, int, int, int, torch.device], None]
    digest: str
    levels: tuple[float, ...] = ()

    def noise_shape(self, latent: tuple[int, ...]) -> tuple[int, ...]:
        return latent

    def start(self, backbone: Backbone, noise: Tensor) -> Tensor:
        return noise

    def schedule(self, x: Tensor) -> EulerSteps:
        scheduler = copy.deepcopy(self.scheduler)
        height, width = x.shape[-2:]
        self.set_steps(scheduler, self.steps, height, width, x.device)
        # As in stock pipelines: timesteps are 1000 sigma, and the quotient may differ from sigma by a bit.
        return EulerSteps(scheduler, scheduler.timesteps / scheduler.config.num_train_timesteps)

    def finish(self, backbone: Backbone, x: Tensor, condition: Condition) -> Tensor:
        return x
