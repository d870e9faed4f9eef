"""Base and aligned mixed: by hand, against a plain loop, and where a mixture must be a branch to the last bit."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from components.backbones.base import Backbone, Branch, Condition, Predictor, Source, candidate_noise
from components.backbones.mixing import Mixing, source_of
from components.backbones.residual_flow import ResidualFlow
from components.backbones.restore import restore, sample
from components.backbones.samplers.base import moves
from components.backbones.samplers.levels import SIGMA_FLOOR
from components.settings import Mixed, MixtureSettings
from tests.made import tiny_model

CPU = torch.device("cpu")
LR = torch.rand(1, 3, 8, 8, generator=torch.manual_seed(0))


def moved(model: Backbone) -> Backbone:
    """The model with a policy that is not its reference."""
    generator = torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model


def restored(model: Backbone, source: Source, count: int = 2) -> Tensor:
    draws = [lambda shape, index=index: candidate_noise("a", index, shape) for index in range(count)]
    (samples,) = restore(model, LR, ("",), draws, "none", source)  # type: ignore[arg-type]
    return samples.images


def mixed(strength: float = 1.0, power: float = 0.0, start: float = 0.0) -> Mixing:
    return Mixing(MixtureSettings(strength=strength, power=power, start=start))


@pytest.fixture
def tiny() -> ResidualFlow:
    model = moved(tiny_model(steps=4))
    assert isinstance(model, ResidualFlow)
    return model


@pytest.mark.parametrize(
    ("settings", "weights", "passes"),
    [
        ({"strength": 0.5}, (0.5, 0.5, 0.5, 0.5), 8),
        ({"strength": 1.5}, (1.5, 1.5, 1.5, 1.5), 8),
        ({"power": 1}, (0.0, 0.25, 0.5, 0.75), 7),
        ({"power": 2}, (0.0, 0.0625, 0.25, 0.5625), 7),
        ({"power": 0.5, "strength": 0.5}, (0.0, 0.25, 0.5**1.5, 0.5 * 0.75**0.5), 7),
        ({"start": 0.5}, (0.0, 0.0, 1.0, 1.0), 4),
        ({"start": 0.6}, (0.0, 0.0, 0.0, 1.0), 4),
        ({"start": 1.0}, (0.0, 0.0, 0.0, 0.0), 4),
        ({}, (1.0, 1.0, 1.0, 1.0), 4),
    ],
)
def test_weights_and_passes_by_hand(settings: dict[str, float], weights: tuple[float, ...], passes: int) -> None:
    found = MixtureSettings(**settings)
    assert found.weights(4) == pytest.approx(weights, abs=1e-15)
    assert found.passes(4) == passes


def test_a_number_is_a_strength_and_limits_hold() -> None:
    adapter: TypeAdapter[MixtureSettings] = TypeAdapter(Mixed)
    assert adapter.validate_python(0.25) == MixtureSettings(strength=0.25)
    assert adapter.validate_python({"power": 2}).name == "strength 1, power 2"
    for wrong in (-0.1, 2.1, True, {"power": -1}, {"start": 1.1}, {"strenght": 1}, "half"):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


def test_a_step_is_the_weighted_sum_of_both_predictions(tiny: ResidualFlow) -> None:
    """Annealed guidance by a plain loop over the published formula: w_i = (i/T)^p."""
    condition = tiny.condition(LR, ("",))
    noise = torch.randn(1, *tiny.noise_shape(32, 32), generator=torch.manual_seed(5))
    x = tiny.config.kappa * noise
    levels = [*tiny.sampler.levels, 0.0]
    with torch.no_grad():
        for step, (sigma, lower) in enumerate(pairwise(levels)):
            level = torch.tensor([sigma])
            base, aligned = (tiny.predict(x, level, condition, branch) for branch in ("reference", "policy"))  # type: ignore[arg-type]
            weight = (step / 4) ** 2.0
            x = x + (lower - sigma) * ((1 - weight) * base + weight * aligned)
    assert min(tiny.sampler.levels) > SIGMA_FLOOR
    wanted = tiny.decode(tiny.latents_of(x, condition), condition)
    found = sample(tiny, condition, noise, mixed(power=2.0)).images
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not torch.allclose(found, sample(tiny, condition, noise, "policy").images, atol=1e-3)


def test_of_a_single_step_the_latents_lie_on_a_line() -> None:
    model = moved(tiny_model(steps=1))
    condition = model.condition(LR, ("",))
    noise = torch.randn(1, *model.noise_shape(32, 32), generator=torch.manual_seed(5))

    @torch.no_grad()
    def end(source: Source) -> Tensor:
        (move,) = moves(model.sampler, model, condition, noise, source)
        return move.drawn

    base, aligned = end("reference"), end("policy")
    for strength in (0.25, 0.75, 1.5):
        assert torch.allclose(end(mixed(strength)), base + strength * (aligned - base), atol=1e-6)


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[], Backbone]]:
    from components.backbones.flux_controlnet import FluxControlNet  # noqa: PLC0415  # diffusers takes seconds
    from components.backbones.sd2_controlnet import SD2ControlNet  # noqa: PLC0415
    from components.backbones.sd3_controlnet import SD3ControlNet  # noqa: PLC0415
    from tests.backbones import tiny_flux, tiny_pipelines, tiny_sd3  # noqa: PLC0415

    root: Path = tmp_path_factory.mktemp("families")
    sd = tiny_pipelines.write_sd_base(root / "sd")
    sd_control = tiny_pipelines.write_sd_control(root / "sd_control", sd)
    flux, flux_control = tiny_flux.write_base(root / "flux"), tiny_flux.write_control(root / "flux_control")
    sd3, sd3_control = tiny_sd3.write_base(root / "sd3"), tiny_sd3.write_control(root / "sd3_control")
    adapted = tiny_pipelines.sd_settings(sd, sd_control, lora_rank=2)
    return {
        "tiny": lambda: tiny_model(steps=4),
        "sd2": lambda: SD2ControlNet.load(sd_control, tiny_pipelines.sd_settings(sd, sd_control), CPU),
        "sd2, adapter": lambda: SD2ControlNet.load(sd_control, adapted, CPU),
        "flux": lambda: FluxControlNet.load(flux_control, tiny_flux.flux_settings(flux, flux_control), CPU),
        "sd3": lambda: SD3ControlNet.load(sd3_control, tiny_sd3.sd3_settings(sd3, sd3_control), CPU),
    }


@pytest.mark.parametrize("family", ["tiny", "sd2", "sd2, adapter", "flux", "sd3"])
def test_strength_0_is_the_base_and_1_the_aligned_model_bit_for_bit(
    families: dict[str, Callable[[], Backbone]], family: str
) -> None:
    """The steps themselves, and not only the short cut of `source_of`."""
    model = moved(families[family]())
    base, aligned = restored(model, "reference"), restored(model, "policy")
    assert not torch.equal(base, aligned)
    assert torch.equal(restored(model, mixed(0.0)), base)
    assert torch.equal(restored(model, mixed(1.0)), aligned)
    assert torch.equal(restored(model, mixed(start=1.0)), base)
    half = restored(model, mixed(0.5))
    assert 0.0 < (half - base).abs().mean() < (aligned - base).abs().mean()
    assert not torch.equal(half, aligned)


def test_a_mixture_of_a_model_with_itself_is_the_model_bit_for_bit() -> None:
    same = tiny_model(steps=4)
    for one in (mixed(0.3), mixed(1.7), mixed(power=2.0)):
        assert torch.equal(restored(same, one), restored(same, "policy"))


def test_the_later_it_is_annealed_in_the_nearer_the_base(tiny: ResidualFlow) -> None:
    base = restored(tiny, "reference")
    distances = [float((restored(tiny, mixed(power=power)) - base).abs().mean()) for power in (0.0, 0.5, 1.0, 4.0)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.5 * distances[0]


def test_a_row_does_not_depend_on_the_others(tiny: ResidualFlow) -> None:
    assert torch.equal(restored(tiny, mixed(0.4), 6)[:2], restored(tiny, mixed(0.4), 2))


@pytest.mark.parametrize("mixture", [mixed(0.5), mixed(power=1.0), mixed(start=0.5), mixed(0.0), mixed()])
def test_it_predicts_as_often_as_it_says(tiny: ResidualFlow, mixture: Mixing, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[Branch] = Counter()
    own = tiny.predictor

    def counted(branch: Branch) -> Predictor:
        predict = own(branch)

        def one(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
            calls[branch] += 1
            return predict(x, t, condition)

        return one

    monkeypatch.setattr(tiny, "predictor", counted)
    restored(tiny, mixture, 1)
    assert calls.total() == mixture.settings.passes(4)


def test_what_is_a_branch_is_restored_as_that_branch() -> None:
    assert source_of(None) == source_of(MixtureSettings()) == "policy"
    assert source_of(MixtureSettings(strength=0.0, power=3.0)) == "reference"
    half = MixtureSettings(strength=0.5)
    assert source_of(half) == Mixing(half)
