"""The embedded model: its unit and formula by hand, its restorer, files, and that it leaves no lattice of its own."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from components.backbones.base import Backbone, Condition, candidate_noise
from components.backbones.restore import sample, sample_rows
from components.backbones.restorer_flow import (
    COARSE,
    PICTURE,
    SEEN,
    UNIT,
    RestorerFlow,
    RestorerFlowConfig,
    projected,
    read_config,
    reduced,
    residual_unit,
    saved_digests,
)
from components.backbones.restorers import restorer
from components.backbones.restorers.restorer import Restorer, load_restorer, weights_digest
from components.backbones.stochastic_branch import CONTEXT, StochasticBranch
from components.errors import BadInput
from components.settings import RestorerFlowSettings
from tests.made import ncnn_enlarger

CPU = torch.device("cpu")
SMALL = {"channels": (8, 12, 16), "blocks": (1, 1, 1), "embedding": 16}


class Constant(nn.Module):
    """Predicts the same residual everywhere."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, noisy: torch.Tensor, context: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        assert context.shape[1] == CONTEXT
        return self.value.expand_as(noisy)


class Nearest(nn.Module):
    """A restorer that repeats pixels, and counts its calls."""

    calls = 0

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        Nearest.calls += 1
        return nn.functional.interpolate(lr, scale_factor=4)


def model(value: float = 1.5, steps: int = 4, **changes: object) -> RestorerFlow:
    config = RestorerFlowConfig(**{"kappa": 0.5, "detail": 2, "unit": (-4.0, 0.0, 0.0, 0.0)} | changes)  # type: ignore[arg-type]
    return RestorerFlow(config, Constant(value), Restorer("r", Nearest()), steps, CPU)


def condition(picture: float, unit: float, side: int = 16) -> Condition:
    whole, coarse = (1, 3, side, side), (1, 3, side // 2, side // 2)
    encodings = {
        PICTURE: torch.full(whole, picture),
        COARSE: torch.full(coarse, picture),
        SEEN: torch.full(coarse, 0.3),
        UNIT: torch.full((1, 1, side // 2, side // 2), unit),
    }
    return Condition(torch.full(whole, 0.3), ("",), encodings)


def test_error_by_hand() -> None:
    """kappa .5, s .1; p .4, HR .6, so r = 2; sigma .5, epsilon 1: x = .5 * 2 + .5 * .5 * 1 = 1.25.

    The network says 1.5: v = (1.25 - 1.5) / .5 = -.5; target = .5 * 1 - 2 = -1.5; e = (-.5 + 1.5)^2 = 1.
    """
    shape = (1, 3, 8, 8)
    arguments = (torch.full(shape, 0.6), condition(0.4, 0.1), torch.tensor([0.5]), torch.ones(shape))
    for branch in ("policy", "reference"):
        assert model().error(*arguments, branch).tolist() == pytest.approx([1.0], abs=1e-5)


def test_a_sample_is_the_picture_and_the_residual_in_its_unit() -> None:
    """Where the network always says 1.5, the chain ends there: p + 1.5 s = .4 + .15, with gain 2 .4 + .3."""
    flow, noise = model(), torch.zeros(1, 3, 8, 8)
    assert sample(flow, condition(0.4, 0.1), noise).images.flatten().tolist() == pytest.approx([0.55] * 768, abs=1e-5)
    flow.sampler = replace(flow.sampler, gain=2.0)
    assert sample(flow, condition(0.4, 0.1), noise).images.flatten().tolist() == pytest.approx([0.7] * 768, abs=1e-5)
    assert flow.sampler.digest != model().sampler.digest


def test_the_unit_by_hand() -> None:
    """Flat pictures .1 apart: both fine structures 0, difference .01; log s^2 = c0 + .5 log(.01 + 1e-5)."""
    flat = torch.full((1, 3, 16, 16), 0.5)
    found = residual_unit(flat, flat + 0.1, (-1.0, 0.0, 0.0, 0.5))
    expected = np.exp(0.5 * (-1.0 + 0.5 * np.log(0.01 + 1e-5)))
    assert found.shape == (1, 1, 16, 16)
    torch.testing.assert_close(found, torch.full_like(found, expected), rtol=1e-4, atol=0.0)


def test_a_flat_place_gets_less_noise_than_a_busy_one() -> None:
    picture = torch.full((1, 3, 32, 64), 0.5)
    picture[..., 32:] += 0.2 * torch.randn(1, 3, 32, 32, generator=torch.manual_seed(0))
    unit = residual_unit(picture, picture, (0.5, 0.25, 0.1, 0.5))
    assert unit[..., :20].max() < 0.3 * unit[..., 44:].min()


def test_the_restorer_runs_once_an_lr_whatever_is_asked_of_it() -> None:
    flow = model()
    lr = torch.rand(3, 3, 8, 8, generator=torch.manual_seed(1))
    Nearest.calls = 0
    whole = flow.condition(lr, ("",) * 3)
    again = flow.condition(lr.flip(0), ("",) * 3)
    assert Nearest.calls == 3
    for name in (PICTURE, UNIT):
        assert torch.equal(whole.encodings[name], again.encodings[name].flip(0))


def test_the_decoded_picture_is_the_latents_when_reduced_and_the_restorers_where_it_is_finer() -> None:
    generator = torch.manual_seed(4)
    picture = torch.rand(1, 3, 64, 64, generator=generator)
    smooth = nn.functional.interpolate(torch.rand(1, 3, 8, 8, generator=generator), size=64, mode="bicubic")
    wanted = reduced(smooth, 2)
    made = projected(picture, wanted, 2)
    before, after = ((reduced(image, 2) - wanted).square().mean().sqrt() for image in (picture, made))
    assert after < 0.1 * before
    fine = torch.full((1, 3, 64, 64), 0.5)
    fine[..., ::2] = 0.6  # what D does not see
    kept = projected(fine, reduced(fine, 2) + 0.1, 2)
    torch.testing.assert_close(kept, fine + 0.1, atol=1e-5, rtol=0.0)


def test_a_row_that_fills_up_a_batch_is_not_restored_again() -> None:
    Nearest.calls = 0
    rows = torch.rand(2, 3, 8, 8, generator=torch.manual_seed(3))
    made = Restorer("r", Nearest())(rows[[0, 1, 1, 1, 0]])
    assert Nearest.calls == 3
    assert torch.equal(made, nn.functional.interpolate(rows, scale_factor=4)[[0, 1, 1, 1, 0]])


def test_the_picture_has_the_colours_of_the_lr() -> None:
    class Redder(nn.Module):
        def forward(self, lr: torch.Tensor) -> torch.Tensor:
            return nn.functional.interpolate(lr, scale_factor=4) + torch.tensor([0.1, 0.0, 0.0]).view(1, 3, 1, 1)

    flow = RestorerFlow(RestorerFlowConfig(), Constant(0.0), Restorer("r", Redder()), 4, CPU)
    lr = torch.full((1, 3, 8, 8), 0.4)
    torch.testing.assert_close(flow.condition(lr, ("",)).encodings[PICTURE], torch.full((1, 3, 32, 32), 0.4))


def branch_model(restorer: str, steps: int = 4) -> RestorerFlow:
    torch.manual_seed(0)
    flow = RestorerFlow.new(RestorerFlowConfig(restorer=restorer, **SMALL), steps, CPU)  # type: ignore[arg-type]
    for parameter in flow.policy.parameters():  # fresh weights predict nothing
        nn.init.normal_(parameter, std=0.1)
    flow.reference.load_state_dict(flow.policy.state_dict())
    return flow


def test_a_saved_model_is_the_same_model(tmp_path: Path) -> None:
    flow = branch_model(str(ncnn_enlarger(tmp_path)))
    folder = tmp_path / "model"
    folder.mkdir()
    flow.save(folder)
    loaded = RestorerFlow.load(folder, 4, CPU)
    settings = RestorerFlowSettings(family="restorer_flow", path=folder, steps=4, colour_fix="none")
    assert loaded.digest("policy") == flow.digest("policy") == flow.digest("reference")
    assert saved_digests(settings) == (flow.digest("policy"), flow.sampler.digest)
    seen = flow.condition(torch.rand(1, 3, 10, 14, generator=torch.manual_seed(2)), ("",))
    noise = candidate_noise("a", 0, flow.noise_shape(40, 56))[None]
    assert torch.equal(sample(flow, seen, noise).images, sample(loaded, seen, noise).images)
    assert sample(flow, seen, noise).images.shape == (1, 3, 40, 56)


def test_a_restorer_of_another_scale_is_refused(tmp_path: Path) -> None:
    flow = branch_model(str(ncnn_enlarger(tmp_path)))
    folder = tmp_path / "model"
    folder.mkdir()
    flow.save(folder)
    (tmp_path / "twice").mkdir()
    twice = ncnn_enlarger(tmp_path / "twice", scale=2)
    with pytest.raises(BadInput, match=r"backbone\.restorer .* enlarges 2 times, the model in .* 4 times"):
        RestorerFlow.load(folder, 4, CPU, str(twice))


def test_a_row_does_not_depend_on_the_others(tmp_path: Path) -> None:
    flow: Backbone = branch_model(str(ncnn_enlarger(tmp_path)))
    seen = flow.condition(torch.rand(1, 3, 8, 8, generator=torch.manual_seed(2)), ("",))
    noise = torch.stack([candidate_noise("a", index, flow.noise_shape(32, 32)) for index in range(6)])
    whole = sample_rows(flow, seen.repeat(6), noise, "policy").images
    for row in (0, 4, 5):
        alone = sample_rows(flow, seen, noise[row : row + 1], "policy").images
        assert torch.equal(alone[0], whole[row])


def test_the_branch_leaves_no_lattice() -> None:
    """On flat input a fresh network of any weights says the same at every pixel: it has no phase to show.

    The old model's unshuffle gave each of its 2 x 2 phases another bias.
    """
    torch.manual_seed(3)
    network = StochasticBranch((8, 12, 16), (1, 1, 1), 16)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    network.double()
    flat = torch.ones(1, 1, 192, 192, dtype=torch.float64)
    with torch.no_grad():
        said = network(0.2 * flat.expand(1, 3, -1, -1), 0.3 * flat.expand(1, CONTEXT, -1, -1), flat[0, 0, 0, :1])
    inside = said[..., 80:-80, 80:-80]  # zero padding reaches in from the border
    spread = inside.amax(dim=(2, 3)) - inside.amin(dim=(2, 3))
    assert float(spread.max()) < 1e-9 * float(inside.abs().max())


def test_another_restorer_is_noticed_unless_it_is_asked_for(tmp_path: Path) -> None:
    path = ncnn_enlarger(tmp_path)
    flow = branch_model(str(path))
    folder = tmp_path / "model"
    folder.mkdir()
    flow.save(folder)
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\x80\x3f")
    with pytest.raises(BadInput, match=r"the branch was trained on restorer .* with digest .* say that you want"):
        RestorerFlow.load(folder, 4, CPU)
    other = RestorerFlow.load(folder, 4, CPU, str(path))
    assert other.digest("policy") != flow.digest("policy")
    assert read_config(folder, str(path)).restorer_digest == weights_digest(str(path), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"kappa": None, "colour": 1}, "does not describe a restorer_flow model"), (None, "has no config.json")],
)
def test_folders_that_are_no_model_are_refused(tmp_path: Path, change: dict[str, object] | None, message: str) -> None:
    flow = branch_model(str(ncnn_enlarger(tmp_path)))
    folder = tmp_path / "model"
    folder.mkdir()
    flow.save(folder)
    config = folder / "config.json"
    if change is None:
        config.unlink()
    else:
        config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(BadInput, match=message):
        RestorerFlow.load(folder, 4, CPU)


def test_restorers_that_are_not_there_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="there is no restorer 'swinir': take one of realesrgan-x4plus"):
        load_restorer("swinir", tmp_path, CPU)
    with pytest.raises(BadInput, match=r"missing\.param does not exist"):
        load_restorer("missing.param", tmp_path, CPU)
    path = ncnn_enlarger(tmp_path)
    shutil.copy(path, tmp_path / "alone.param")
    with pytest.raises(BadInput, match=r"alone\.bin does not exist"):
        load_restorer("alone.param", tmp_path, CPU)
    assert set(restorer.SHIPPED) == {"realesrgan-x4plus", "realesr-animevideov3"}
