"""DDPM (Ho et al., arXiv 2006.11239): the noise levels of a base model, and the sampler with all of its noise given.

diffusers' own `step` draws noise from a generator; here a candidate's noise is a tensor, a function of its identity.
Otherwise the steps are those of diffusers' scheduler.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from components.backbones.base import Backbone, Condition
from components.backbones.samplers.base import Transition
from components.backbones.without_quantisation import without_quantisation
from components.errors import BadInput

PREDICTIONS = ("epsilon", "v_prediction")


def _scheduler(config: Any) -> Any:
    """diffusers' scheduler; imported on demand, since backbones that take no DDPM import diffusers their own way."""
    with without_quantisation():
        from diffusers import DDPMScheduler  # noqa: PLC0415

    return DDPMScheduler.from_config(config)


class NoiseLevels:
    """The levels that a base model was trained at, and what it predicts at them.

    Args:
        config: of the base model's scheduler, whichever kind it is: its betas, spacing and prediction type count.
        setting: where the configuration comes from, for errors.

    Raises:
        BadInput: another prediction type than epsilon or v, or an option that the sampler's steps do not follow.
    """

    def __init__(self, config: dict[str, Any], setting: str) -> None:
        # Kinds of scheduler that never clip, such as PNDM, need not say so; DDPM's default would clip latents to +-1.
        self.scheduler = _scheduler({"clip_sample": False} | config)
        self.setting = setting
        own = self.scheduler.config
        self.prediction: str = own.prediction_type
        if self.prediction not in PREDICTIONS:
            raise BadInput(
                f"{setting}: scheduler/scheduler_config.json has prediction_type {self.prediction!r}, supported are "
                f"{' and '.join(PREDICTIONS)}; choose a base model that predicts one of these"
            )
        if own.thresholding or own.variance_type != "fixed_small":
            raise BadInput(
                f"{setting}: scheduler/scheduler_config.json sets thresholding or a variance_type other than "
                "fixed_small, which latent diffusion does not use; choose a base model without them"
            )
        self.count: int = own.num_train_timesteps
        self.config: dict[str, Any] = {key: value for key, value in dict(own).items() if not key.startswith("_")}
        self.alphas: Tensor = self.scheduler.alphas_cumprod.clone()
        self.clip: float | None = own.clip_sample_range if own.clip_sample else None

    def check_steps(self, steps: int) -> None:
        """Raise BadInput for more steps than training had levels."""
        if steps > self.count:
            raise BadInput(f"backbone.steps {steps} exceeds the {self.count} noise levels of {self.setting}: lower it")

    def level(self, t: Tensor) -> Tensor:
        """Integer timestep ceil(t * T) - 1 of a time in (0, 1]."""
        return (t * self.count).ceil().long().clamp(1, self.count) - 1

    def noisy(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t of clean latents `[B, C, h, w]` at integer timesteps `[B]`."""
        noised: Tensor = self.scheduler.add_noise(clean, noise, timesteps)
        return noised

    def target(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network should predict: epsilon, or v = sqrt(alpha) epsilon - sqrt(1 - alpha) x0."""
        if self.prediction == "epsilon":
            return noise
        velocity: Tensor = self.scheduler.get_velocity(clean, noise, timesteps)
        return velocity


class DDPMSteps:
    """The steps of a sampling; see `Schedule`.

    Attributes:
        times: each in the middle of its level, so that no rounding of `NoiseLevels.level` leads to a neighbour.
    """

    def __init__(self, levels: NoiseLevels, timesteps: list[int], device: torch.device) -> None:
        self._levels, self._timesteps = levels, timesteps
        self.times = ((torch.tensor(timesteps) + 0.5) / levels.count).to(device)

    def transition(self, step: int, predicted: Tensor, x: Tensor) -> Transition:
        """Equation (7) of the paper; the last step's variance is zero."""
        last = step == len(self._timesteps) - 1
        alphas, clip = self._levels.alphas, self._levels.clip
        alpha = alphas[self._timesteps[step]]
        previous_alpha = torch.ones(()) if last else alphas[self._timesteps[step + 1]]
        step_alpha = alpha / previous_alpha
        if self._levels.prediction == "epsilon":
            clean = (x - (1 - alpha).sqrt() * predicted) / alpha.sqrt()
        else:
            clean = alpha.sqrt() * x - (1 - alpha).sqrt() * predicted
        if clip is not None:
            clean = clean.clamp(-clip, clip)
        mean: Tensor = (
            previous_alpha.sqrt() * (1 - step_alpha) / (1 - alpha) * clean
            + step_alpha.sqrt() * (1 - previous_alpha) / (1 - alpha) * x
        )
        variance = (1 - previous_alpha) / (1 - alpha) * (1 - step_alpha)
        return Transition(mean, None if last else variance.clamp_min(1e-20).sqrt())


@dataclass(frozen=True)
class DDPM:
    """Ancestral sampling; see `Sampler`.

    Attributes:
        steps: denoising steps.

    Raises:
        BadInput: more steps than training had levels.
    """

    noise_levels: NoiseLevels
    steps: int
    digest: str
    levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        self.noise_levels.check_steps(self.steps)

    @cached_property
    def timesteps(self) -> list[int]:
        """Levels of the steps, from the noisiest."""
        scheduler = _scheduler(self.noise_levels.scheduler.config)
        scheduler.set_timesteps(self.steps)
        steps: list[int] = scheduler.timesteps.tolist()
        return steps

    def noise_shape(self, latent: tuple[int, ...]) -> tuple[int, ...]:
        """(steps, C, h, w): x_T, then the noise of every step but the last, whose variance is zero."""
        return (self.steps, *latent)

    def start(self, backbone: Backbone, noise: Tensor) -> Tensor:
        return noise[:, 0]

    def schedule(self, x: Tensor) -> DDPMSteps:
        return DDPMSteps(self.noise_levels, self.timesteps, x.device)

    def finish(self, backbone: Backbone, x: Tensor, condition: Condition) -> Tensor:
        return x
