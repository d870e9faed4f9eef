"""The DDPM sampler with all of its noise given (Ho et al., arXiv 2006.11239), step for step as diffusers' scheduler.

diffusers' own `step` draws noise from a generator; here a candidate's noise is a tensor, a function of its identity.
"""

from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from components.errors import BadInput

PREDICTIONS = ("epsilon", "v_prediction")


class GivenNoiseDDPM:
    """Noise levels and steps of one sampler.

    Args:
        config: of the base model's scheduler, whichever kind it is: its betas, spacing and prediction type count.
        steps: denoising steps.
        setting: where the configuration comes from, for errors.

    Raises:
        BadInput: another prediction type than epsilon or v, more steps than training had levels, or an option that
            the steps here do not follow.
    """

    def __init__(self, config: dict[str, Any], steps: int, setting: str) -> None:
        # Kinds of scheduler that never clip, such as PNDM, need not say so; DDPM's default would clip latents to +-1.
        scheduler = DDPMScheduler.from_config({"clip_sample": False} | config)
        self.prediction: str = scheduler.config.prediction_type
        if self.prediction not in PREDICTIONS:
            raise BadInput(
                f"{setting}: scheduler/scheduler_config.json has prediction_type {self.prediction!r}, supported are "
                f"{' and '.join(PREDICTIONS)}; choose a base model that predicts one of these"
            )
        if scheduler.config.thresholding or scheduler.config.variance_type != "fixed_small":
            raise BadInput(
                f"{setting}: scheduler/scheduler_config.json sets thresholding or a variance_type other than "
                "fixed_small, which latent diffusion does not use; choose a base model without them"
            )
        self.levels: int = scheduler.config.num_train_timesteps
        if steps > self.levels:
            raise BadInput(f"backbone.steps {steps} exceeds the {self.levels} noise levels of {setting}: lower it")
        scheduler.set_timesteps(steps)
        self.scheduler = scheduler
        self.timesteps: list[int] = scheduler.timesteps.tolist()
        self.config: dict[str, Any] = {
            key: value for key, value in dict(scheduler.config).items() if not key.startswith("_")
        }
        self._alphas: Tensor = scheduler.alphas_cumprod.clone()
        self._clip: float | None = scheduler.config.clip_sample_range if scheduler.config.clip_sample else None

    def level(self, t: Tensor) -> Tensor:
        """Integer timestep ceil(t * T) - 1 of a time in (0, 1]."""
        return (t * self.levels).ceil().long().clamp(1, self.levels) - 1

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

    def previous(self, step: int, predicted: Tensor, noisy: Tensor, noise: Tensor | None) -> Tensor:
        """Latents after denoising step number `step`, of the prediction at its timestep.

        Args:
            noise: of this step; None at the last, whose variance is zero.
        """
        last = step == len(self.timesteps) - 1
        alpha = self._alphas[self.timesteps[step]]
        previous_alpha = torch.ones(()) if last else self._alphas[self.timesteps[step + 1]]
        step_alpha = alpha / previous_alpha
        if self.prediction == "epsilon":
            clean = (noisy - (1 - alpha).sqrt() * predicted) / alpha.sqrt()
        else:
            clean = alpha.sqrt() * noisy - (1 - alpha).sqrt() * predicted
        if self._clip is not None:
            clean = clean.clamp(-self._clip, self._clip)
        # equation (7) of the paper
        mean: Tensor = (
            previous_alpha.sqrt() * (1 - step_alpha) / (1 - alpha) * clean
            + step_alpha.sqrt() * (1 - previous_alpha) / (1 - alpha) * noisy
        )
        if noise is None:
            return mean
        variance = (1 - previous_alpha) / (1 - alpha) * (1 - step_alpha)
        return mean + variance.clamp_min(1e-20).sqrt() * noise
