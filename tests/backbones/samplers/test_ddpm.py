"""The sampler whose noise is given, against diffusers' own, which draws it."""

from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, PNDMScheduler

from components.backbones.samplers.ddpm import DDPM, DDPMSteps, NoiseLevels
from components.errors import BadInput
from tests.backbones.tiny_pipelines import SCHEDULER

CPU = torch.device("cpu")
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
    ours = DDPM(NoiseLevels(config, "backbone.base"), 5, "")
    steps = ours.schedule(torch.zeros(1))
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
        where = steps.transition(step, predicted, x)
        assert (where.std is None) == (noise is None)
        x = where.mean if noise is None or where.std is None else where.mean + where.std * noise
        assert torch.allclose(x, theirs, rtol=1e-4, atol=1e-5), step
    assert ours.timesteps == stock.timesteps.tolist()


def test_times_become_the_level_they_end() -> None:
    levels = NoiseLevels(SCHEDULER, "backbone.base")
    times = torch.tensor([1.0, 0.9991, 0.5, 0.0011, 0.001, 1e-9])
    assert levels.level(times).tolist() == [999, 999, 499, 1, 0, 0]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_target_and_the_noisy_latents_give_the_clean_ones_back(prediction: str) -> None:
    levels = NoiseLevels(SCHEDULER | {"prediction_type": prediction}, "backbone.base")
    clean, noise = torch.randn(2, 3, 4, 8, 8, generator=torch.manual_seed(0)).unbind(1)[:2]
    at = torch.tensor([999, 999])
    noisy = levels.noisy(clean, noise, at)
    only = DDPMSteps(levels, [999], CPU)
    restored = only.transition(0, levels.target(clean, noise, at), noisy).mean
    assert torch.allclose(restored, clean, atol=1e-3)
    assert noisy.std() == pytest.approx(1.0, abs=0.2)


def test_a_scheduler_that_never_clips_is_taken_at_its_word() -> None:
    config = dict(PNDMScheduler(skip_prk_steps=True, steps_offset=1, beta_schedule="scaled_linear").config)
    assert "clip_sample" not in config
    only = DDPMSteps(NoiseLevels(config, "backbone.base"), [0], CPU)
    large = torch.full((1, 4, 2, 2), 5.0)
    assert float(only.transition(0, torch.zeros_like(large), large).mean.min()) > 4.9


def test_every_time_is_read_as_its_own_level() -> None:
    """t goes to the network as a float and comes back as a level: none may be off by one."""
    levels = NoiseLevels(SCHEDULER, "backbone.base")
    steps = DDPMSteps(levels, list(range(levels.count)), CPU)
    assert levels.level(steps.times).tolist() == list(range(1000))


def test_no_step_beyond_the_trained_levels() -> None:
    with pytest.raises(BadInput, match=r"backbone\.steps 1001 exceeds the 1000 noise levels of backbone\.base"):
        DDPM(NoiseLevels(SCHEDULER, "backbone.base"), 1001, "")
