"""The sampler whose noise is given, against diffusers' own, which draws it."""

from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, PNDMScheduler

from components.backbones.samplers.ddpm import GivenNoiseDDPM
from components.errors import BadInput
from tests.backbones.tiny_pipelines import SCHEDULER

CHANGES: list[dict[str, Any]] = [
    {},
    {"prediction_type": "v_prediction"},
    {"timestep_spacing": "trailing"},
    {"timestep_spacing": "linspace", "clip_sample": True, "clip_sample_range": 1.5},
    {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
]


@pytest.mark.parametrize("changes", CHANGES)
def test_every_step_is_diffusers(changes: dict[str, Any]) -> None:
    config = SCHEDULER | changes
    ours = GivenNoiseDDPM(config, 5, "backbone.base")
    stock = DDPMScheduler.from_config(config)
    stock.set_timesteps(5)
    generator = torch.Generator().manual_seed(1)
    x = theirs = torch.randn(2, 4, 8, 8, generator=generator)
    for step, timestep in enumerate(stock.timesteps):
        predicted = torch.randn(x.shape, generator=torch.Generator().manual_seed(step))
        state = generator.get_state()
        noise = torch.randn(x.shape, generator=generator) if step < 4 else None
        generator.set_state(state)
        theirs = stock.step(predicted, timestep, theirs, generator=generator).prev_sample
        x = ours.previous(step, predicted, x, noise)
        assert torch.allclose(x, theirs, rtol=1e-4, atol=1e-5), step
    assert ours.timesteps == stock.timesteps.tolist()


def test_times_become_the_level_they_end() -> None:
    sampler = GivenNoiseDDPM(SCHEDULER, 5, "backbone.base")
    times = torch.tensor([1.0, 0.9991, 0.5, 0.0011, 0.001, 1e-9])
    assert sampler.level(times).tolist() == [999, 999, 499, 1, 0, 0]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_target_and_the_noisy_latents_give_the_clean_ones_back(prediction: str) -> None:
    sampler = GivenNoiseDDPM(SCHEDULER | {"prediction_type": prediction}, 1, "backbone.base")
    clean, noise = torch.randn(2, 3, 4, 8, 8, generator=torch.manual_seed(0)).unbind(1)[:2]
    levels = torch.tensor([999, 999])
    sampler.timesteps[0] = 999
    noisy = sampler.noisy(clean, noise, levels)
    restored = sampler.previous(0, sampler.target(clean, noise, levels), noisy, None)
    assert torch.allclose(restored, clean, atol=1e-3)
    assert noisy.std() == pytest.approx(1.0, abs=0.2)


def test_a_scheduler_that_never_clips_is_taken_at_its_word() -> None:
    config = dict(PNDMScheduler(skip_prk_steps=True, steps_offset=1, beta_schedule="scaled_linear").config)
    assert "clip_sample" not in config
    sampler = GivenNoiseDDPM(config, 1, "backbone.base")
    large = torch.full((1, 4, 2, 2), 5.0)
    sampler.timesteps[0] = 0
    assert float(sampler.previous(0, torch.zeros_like(large), large, None).min()) > 4.9


def test_no_step_beyond_the_trained_levels() -> None:
    with pytest.raises(BadInput, match=r"backbone\.steps 1001 exceeds the 1000 noise levels of backbone\.base"):
        GivenNoiseDDPM(SCHEDULER, 1001, "backbone.base")
