"""Euler steps of a residual flow (`backbones.residual_flow`), from sigma = 1 down; t is sigma."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from components.backbones.base import Condition
from components.backbones.samplers.flow_euler import EulerSteps
from components.backbones.samplers.levels import max_steps, shifted_levels
from components.backbones.without_quantisation import without_quantisation
from components.storage import digests

if TYPE_CHECKING:
    from components.backbones.residual_flow import ResidualFlow

Control = Literal["gain", "steps"]
"""What can be turned without any training, and moves the metrics that an alignment moves."""


@dataclass(frozen=True)
class ResidualEuler:
    """Few steps, since the flow starts near its end.

    Attributes:
        shift: of the steps towards high noise, sigma = shift u / (1 + (shift - 1) u) for even u (Esser et al.,
            arXiv 2403.03206, section 5.3.2); 1 is even steps. What a restoration shows is settled near sigma = 1.
        steps: Euler steps.
        gain: factor of the sampled residual; 1 is as the model says.

    Raises:
        BadInput: the last of so many steps would start below SIGMA_FLOOR.
    """

    shift: float
    steps: int
    gain: float = 1.0

    def __post_init__(self) -> None:
        shifted_levels(self.shift, self.steps)

    @cached_property
    def levels(self) -> tuple[float, ...]:
        return shifted_levels(self.shift, self.steps)

    @property
    def digest(self) -> str:
        gained = {} if self.gain == 1.0 else {"gain": self.gain}
        return digests.of_json({"scheduler": "FlowMatchEuler", "sigmas": list(self.levels)} | gained)

    def with_control(self, control: Control, value: float) -> "ResidualEuler":
        """The same sampler with another gain or number of steps."""
        return replace(self, gain=value) if control == "gain" else replace(self, steps=int(value))

    def times(self, control: Control, factor: float) -> float:
        """The control's value `factor` times, as far as the model takes it."""
        if control == "gain":
            return self.gain * factor
        return float(max(1, min(round(self.steps * factor), max_steps(self.shift))))

    def noise_shape(self, latent: tuple[int, ...]) -> tuple[int, ...]:
        return latent

    def start(self, backbone: "ResidualFlow", noise: Tensor) -> Tensor:
        return noise * backbone.config.kappa

    def schedule(self, x: Tensor) -> EulerSteps:
        with without_quantisation():  # 6 s of CPU time where all is cached
            from diffusers import FlowMatchEulerDiscreteScheduler  # noqa: PLC0415

        scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
        scheduler.set_timesteps(sigmas=list(self.levels), device=x.device)
        return EulerSteps(scheduler, scheduler.sigmas[:-1].to(x.device))  # the scheduler appends 0

    def finish(self, backbone: "ResidualFlow", x: Tensor, condition: Condition) -> Tensor:
        return backbone.latents_of(x, condition, self.gain)
