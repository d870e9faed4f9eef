"""A flow's stochastic steps: marginals of the ODE, Flow-GRPO's equation in the limit, and their log-probabilities."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from components.backbones.base import Backbone
from components.backbones.restore import sample
from components.backbones.samplers.base import Transition, moves
from components.backbones.samplers.ddpm import DDPM
from components.backbones.samplers.levels import shifted_levels
from components.backbones.samplers.stochastic import FULL_NOISE, FlowSteps, StochasticFlow, deviation, stochastic
from components.errors import BadInput
from tests.made import tiny_model

CENTRE, KAPPA = 0.8, 0.7
LR = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def marginal(level: float, spread: float) -> tuple[float, float]:
    """Mean and variance of x at a level, where x0 is normal(CENTRE, spread^2) and the noise has KAPPA."""
    return (1.0 - level) * CENTRE, ((1.0 - level) * spread) ** 2 + (level * KAPPA) ** 2


def velocity(x: Tensor, level: float, spread: float) -> Tensor:
    """The best prediction E[u e - x0 | x] of that toy, in closed form."""
    mean, variance = marginal(level, spread)
    slope = (level * KAPPA**2 - (1.0 - level) * spread**2) / variance
    return -CENTRE + slope * (x - mean)


def sampled(levels: list[float], noise_level: float, spread: float) -> tuple[float, float]:
    """Mean and variance after all steps, exactly: each is linear in x, so that three points tell it."""
    steps = FlowSteps(torch.tensor(levels[:-1]), torch.tensor(levels, dtype=torch.float64), KAPPA, noise_level)
    mean, variance = 0.0, KAPPA**2
    for number, level in enumerate(levels[:-1]):
        x = torch.tensor([mean, mean + 1.0], dtype=torch.float64)
        found = steps.transition(number, velocity(x, level, spread), x)
        slope = float(found.mean[1] - found.mean[0])
        mean = float(found.mean[0])
        variance = slope**2 * variance + (0.0 if found.std is None else float(found.std) ** 2)
    return mean, variance


@pytest.mark.parametrize("noise_level", [0.35, 0.7, FULL_NOISE])
@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_the_marginals_are_the_odes_on_a_gaussian(noise_level: float, spread: float) -> None:
    """At 0 and on the way, to the first order of the steps: half as long, half as far from the true variance."""
    for end in (0.0, 0.4):
        errors = []
        for count in (200, 400):
            levels = [1.0 - (1.0 - end) * step / count for step in range(count + 1)]
            mean, variance = sampled(levels, noise_level, spread)
            expected, wanted = marginal(end, spread)
            assert mean == pytest.approx(expected, abs=0.02)
            errors.append(abs(variance / wanted - 1.0))
        assert errors[1] < 0.02
        assert errors[1] < 0.6 * errors[0] or errors[1] < 1e-3


@pytest.mark.parametrize("count", [2, 4])
def test_a_single_picture_is_reached_through_the_right_noise_in_few_steps(count: int) -> None:
    """The embedded model's levels; where x0 is certain, every state has its level's noise exactly, and the end none."""
    levels = [*shifted_levels(4.0, count), 0.0]
    for end in range(1, count + 1):
        mean, variance = sampled(levels[: end + 1], 0.7, 0.0) if end < count else sampled(levels, 0.7, 0.0)
        expected, wanted = marginal(levels[end], 0.0)
        assert mean == pytest.approx(expected, abs=1e-6)
        assert variance == pytest.approx(wanted, abs=1e-6)


def test_small_steps_are_those_of_flow_grpos_equation() -> None:
    """Drift and diffusion, with the noise's unit: x' = x - h [v + g^2/(2 u^2 s) (x + (1 - s) v)] + g sqrt(h) z."""
    here, step, a = 0.6, 1e-5, 0.7
    x, v = torch.tensor([[0.3]], dtype=torch.float64), torch.tensor([[-1.2]], dtype=torch.float64)
    steps = FlowSteps(torch.tensor([here]), torch.tensor([here, here - step], dtype=torch.float64), KAPPA, a)
    found = steps.transition(0, v, x)
    g = a * KAPPA * math.sqrt(here / (1.0 - here))
    assert found.std is not None
    assert float(found.std) ** 2 / step == pytest.approx(g**2, rel=1e-3)
    drift = v + g**2 / (2.0 * KAPPA**2 * here) * (x + (1.0 - here) * v)
    assert float((x - found.mean) / step) == pytest.approx(float(drift), rel=1e-3)


def test_the_first_step_has_no_division_by_zero_and_the_last_draws_nothing() -> None:
    assert deviation(1.0, 0.8, 0.7) == pytest.approx(0.7 / math.sqrt(2.0) * 0.8)
    assert deviation(1.0, 0.8, FULL_NOISE) == pytest.approx(0.8)  # all of it anew
    assert deviation(0.8, 0.0, 0.7) == 0.0
    assert deviation(1.0, 1.0, 0.7) == 0.0


def test_log_probabilities_are_torchs_means_over_elements() -> None:
    generator = torch.Generator().manual_seed(1)
    mean, drawn = (torch.randn(3, 2, 4, 4, generator=generator) for _ in range(2))
    std = torch.tensor(0.396)
    wanted = torch.distributions.Normal(mean.double(), std.double()).log_prob(drawn.double())
    found = Transition(mean, std).log_prob(drawn)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, wanted.mean(dim=(1, 2, 3)))
    with pytest.raises(ValueError, match="no density"):
        Transition(mean).log_prob(drawn)


def test_differences_of_log_probabilities_survive_that_float32_would_lose() -> None:
    """Two means that differ by 1e-6: the ratio is what calculus says, to 1e-3 of itself."""
    generator = torch.Generator().manual_seed(2)
    mean, noise = (torch.randn(1, 3, 32, 32, generator=generator) for _ in range(2))
    drawn, std = mean + 0.4 * noise, torch.tensor(0.4)
    shifted = mean + 1e-6 * noise
    found = Transition(shifted, std).log_prob(drawn) - Transition(mean, std).log_prob(drawn)
    moved = (shifted - mean).double()
    wanted = (((drawn - mean).double() * moved).mean() - 0.5 * moved.square().mean()) / 0.16
    assert float(found) == pytest.approx(float(wanted), rel=1e-3)


@pytest.mark.parametrize("family", ["tiny", "sd2", "flux"])
def test_every_family_is_rolled_and_each_step_has_the_density_of_its_noise(
    family: str, request: pytest.FixtureRequest
) -> None:
    model: Backbone = request.getfixturevalue(family)()
    sampler = stochastic(model, 3, 0.7)
    condition = model.condition(LR, ("a", "b"))
    shape = sampler.noise_shape(model.latent_shape(32, 32))
    assert shape == (3, *model.latent_shape(32, 32))
    noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        steps = list(moves(sampler, model, condition, noise, "policy"))
    assert [step.transition.std is None for step in steps] == [False, False, True]
    for number, step in enumerate(steps[:-1]):
        std = step.transition.std
        assert std is not None
        wanted = torch.distributions.Normal(0.0, 1.0).log_prob(noise[:, number + 1]).flatten(1).mean(dim=1) - std.log()
        torch.testing.assert_close(step.transition.log_prob(step.drawn), wanted.double(), atol=1e-3, rtol=1e-3)
    assert all(torch.equal(one.drawn, other.x) for one, other in pairwise(steps))


def test_without_noise_it_is_the_models_own_sampler() -> None:
    model = tiny_model(steps=3, shift=4.0, kappa=KAPPA)
    sampler = replace(stochastic(model, 3, 0.7), noise_level=0.0)  # type: ignore[type-var]
    condition = model.condition(LR, ("", ""))
    noise = torch.randn(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    found = sample(model, condition, noise, "policy", sampler).images
    torch.testing.assert_close(found, sample(model, condition, noise[:, 0]).images, atol=1e-5, rtol=0)


def test_what_has_no_stochastic_steps_is_refused_by_name(sd2: Callable[..., Any]) -> None:
    assert isinstance(stochastic(sd2(), 2, 0.7), DDPM)
    assert isinstance(stochastic(tiny_model(), 2, 0.7), StochasticFlow)
    with pytest.raises(BadInput, match=r"train.source.steps 2000: backbone.steps is 2000: this model takes 1 to"):
        stochastic(tiny_model(), 2000, 0.7)
    other = tiny_model()
    other.sampler = object()  # type: ignore[assignment]
    with pytest.raises(BadInput, match=r"train\.source prdp draws in every step of a sampling, and object has no"):
        stochastic(other, 2, 0.7)
