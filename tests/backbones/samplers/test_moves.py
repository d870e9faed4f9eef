"""The one loop: against plain ones, step by step, and what can be asked of its steps."""

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from components.backbones.base import Backbone
from components.backbones.restore import sample
from components.backbones.samplers.base import moves
from components.backbones.samplers.levels import SIGMA_FLOOR
from components.backbones.samplers.residual_euler import ResidualEuler
from components.storage import digests
from tests.made import tiny_model

LR = torch.rand(2, 3, 8, 8, generator=torch.manual_seed(7))
Loader = Callable[[], Backbone]


def moved(model: Backbone) -> Backbone:
    """A policy that is not its reference any more."""
    generator = torch.manual_seed(3)
    with torch.no_grad():
        for weight in model.policy.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
    return model


def noise_of(model: Backbone) -> Tensor:
    return torch.randn(2, *model.noise_shape(32, 32), generator=torch.manual_seed(5))


def test_a_residual_flow_is_sampled_as_a_plain_loop_does() -> None:
    model = tiny_model(steps=3, shift=3.0, kappa=0.7)
    model.sampler = replace(model.sampler, gain=1.25)
    condition, noise = model.condition(LR, ("", "")), noise_of(model)
    network: nn.Module = copy.deepcopy(model.policy).eval()
    x = 0.7 * noise
    with torch.no_grad():
        for sigma, lower in pairwise([*model.sampler.levels, 0.0]):
            predicted = network(x, condition.upsampled * 2 - 1, torch.full((2,), sigma))
            x = x + (lower - sigma) * (x - predicted) / max(sigma, SIGMA_FLOOR)
    expected = (condition.upsampled + 1.25 * model.config.residual_std * x).clamp(0, 1)
    torch.testing.assert_close(sample(model, condition, noise).images, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["tiny", "sd2", "flux"])
def test_the_steps_follow_one_another_and_end_in_the_sample(family: str, request: pytest.FixtureRequest) -> None:
    model: Backbone = moved(request.getfixturevalue(family)())
    condition, noise = model.condition(LR, ("a", "b")), noise_of(model)
    with torch.no_grad():
        steps = list(moves(model.sampler, model, condition, noise, "policy"))
        latents = model.sampler.finish(model, steps[-1].drawn, condition)
        images = model.decode(latents, condition)
    assert torch.equal(steps[0].x, model.sampler.start(model, noise))
    assert all(torch.equal(one.drawn, other.x) for one, other in pairwise(steps))
    times = [float(step.t) for step in steps]
    assert times == sorted(times, reverse=True)
    assert 0.0 < times[-1] < times[0] <= 1.0
    assert torch.equal(images, sample(model, condition, noise).images)


def test_a_stochastic_steps_log_probability_is_a_normals(sd2: Loader) -> None:
    """What was drawn is the mean and the step's own noise: its density is the noise's, in the step's scale."""
    model, noise = sd2(), noise_of(sd2())
    with torch.no_grad():
        steps = list(moves(model.sampler, model, model.condition(LR, ("a", "b")), noise, "reference"))
    assert [step.transition.std is None for step in steps] == [False, False, True]
    for number, step in enumerate(steps[:-1]):
        mean, std = step.transition.mean, step.transition.std
        assert std is not None
        found = torch.distributions.Normal(mean, std.expand_as(mean)).log_prob(step.drawn)
        expected = torch.distributions.Normal(0.0, 1.0).log_prob(noise[:, number + 1]) - std.log()
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("family", ["tiny", "sd2", "flux"])
def test_gradients_flow_through_a_step_of_the_policy_alone(family: str, request: pytest.FixtureRequest) -> None:
    model: Backbone = request.getfixturevalue(family)()
    condition, noise = model.condition(LR, ("a", "b")), noise_of(model)
    (*_, frozen) = moves(model.sampler, model, condition, noise, "reference")
    assert not frozen.drawn.requires_grad
    (*_, last) = moves(model.sampler, model, condition, noise, "policy")
    last.drawn.sum().backward()
    found = [weight.grad for weight in model.policy.parameters() if weight.requires_grad and weight.grad is not None]
    assert any(bool(gradient.any()) for gradient in found)


@pytest.mark.parametrize("family", ["tiny", "sd2", "flux"])
def test_the_error_is_that_of_the_prediction(family: str, request: pytest.FixtureRequest) -> None:
    model: Backbone = moved(request.getfixturevalue(family)())
    condition = model.condition(LR, ("a", "b"))
    latents = torch.rand(2, *model.latent_shape(32, 32), generator=torch.manual_seed(1))
    noise = torch.randn(latents.shape, generator=torch.manual_seed(2))
    t = torch.tensor([0.3, 1.0])
    noisy, target = model.noised(latents, condition, t, noise)
    for branch in ("policy", "reference"):
        predicted = model.predict(noisy, t, condition, branch)
        expected = (predicted - target).square().mean(dim=(1, 2, 3))
        torch.testing.assert_close(model.error(latents, condition, t, noise, branch), expected)
    assert not torch.equal(model.predict(noisy, t, condition, "policy"), predicted)


def test_a_digest_names_what_it_named_before_there_were_samplers() -> None:
    """Caches of finished candidates are found by it."""
    even: dict[str, Any] = {"scheduler": "FlowMatchEuler", "sigmas": [1.0, 0.5]}
    assert ResidualEuler(1.0, 2).digest == ResidualEuler(1.0, 2, gain=1.0).digest == digests.of_json(even)
    assert ResidualEuler(1.0, 2, gain=1.5).digest == digests.of_json(even | {"gain": 1.5})
