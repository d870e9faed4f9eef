"""The example of a mixture, on the way that every restoration takes."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from components.backbones.base import Backbone, Source, candidate_noise
from components.backbones.restore import restore
from components.judge.restorers import Sampling, model_restorer
from tests.examples.fading import Fading
from tests.made import tiny_model

LR = torch.rand(1, 3, 8, 8, generator=torch.manual_seed(0))


def moved(model: Backbone) -> Backbone:
    """The model with a policy that is not its reference."""
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.mul_(1.2)
    return model


def restored(model: Backbone, source: Source, count: int = 3) -> Tensor:
    draws = [partial(candidate_noise, "a", index) for index in range(count)]
    (samples,) = restore(model, LR, ("",), draws, "none", source)
    return samples.images


@pytest.fixture
def model() -> Backbone:
    return moved(tiny_model(steps=4))


def test_power_zero_is_the_aligned_model_bit_for_bit(model: Backbone) -> None:
    assert torch.equal(restored(model, Fading(0.0)), restored(model, "policy"))
    assert not torch.equal(restored(model, "reference"), restored(model, "policy"))


def test_the_later_it_fades_in_the_nearer_the_base(model: Backbone) -> None:
    base, distances = restored(model, "reference"), []
    for power in (0.0, 1.0, 4.0, 60.0):
        distances.append(float((restored(model, Fading(power)) - base).abs().mean()))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-6 < distances[2]


def test_a_mixture_of_a_model_with_itself_is_the_model() -> None:
    same = tiny_model(steps=4)
    assert torch.allclose(restored(same, Fading(1.0)), restored(same, "policy"), atol=1e-6)


def test_a_row_of_a_mixture_does_not_depend_on_the_others(model: Backbone) -> None:
    assert torch.equal(restored(model, Fading(1.0), 6)[:2], restored(model, Fading(1.0), 2))


def test_the_judge_takes_a_mixture_and_knows_it_by_its_own_digest(model: Backbone) -> None:
    sources: list[Source] = ["policy", "reference", Fading(1.0), Fading(2.0)]
    digests = {model_restorer("m", model, source, Sampling(2, 2, "none")).digest for source in sources}
    assert len(digests) == len(sources)


def test_a_controlnets_guidance_comes_before_the_mixture(tmp_path: Path) -> None:
    """Stochastic steps, guidance and a mixture together: the same on DDPM as on a flow."""
    from components.backbones.sd2_controlnet import SD2ControlNet  # noqa: PLC0415  # diffusers takes seconds to import
    from tests.backbones.tiny_pipelines import sd_settings, write_sd_base, write_sd_control  # noqa: PLC0415

    base = write_sd_base(tmp_path / "base")
    control = write_sd_control(tmp_path / "control", base)
    guided = moved(SD2ControlNet.load(control, sd_settings(base, control, lora_rank=0), torch.device("cpu")))
    assert torch.equal(restored(guided, Fading(0.0), 1), restored(guided, "policy", 1))
    mixed = restored(guided, Fading(1.0), 1)
    assert not torch.allclose(mixed, restored(guided, "policy", 1), atol=1e-4)
    assert not torch.allclose(mixed, restored(guided, "reference", 1), atol=1e-4)
