"""The embedded flow: its formula against hand-made tensors, sizes, files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from components.backbones.base import Condition
from components.backbones.loading import load_backbone
from components.backbones.restore import sample
from components.backbones.samplers.levels import SIGMA_FLOOR, max_steps
from components.backbones.tiny_flow import TinyFlow, TinyFlowConfig, saved_digests
from components.errors import BadInput
from components.settings import TinyFlowSettings
from tests.made import tiny_model, write_params

CPU = torch.device("cpu")


class Constant(nn.Module):
    """Predicts the same residual everywhere."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, noisy: torch.Tensor, upsampled: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return self.value.expand_as(noisy)


def test_error_by_hand() -> None:
    """kappa .5, s .1; up(LR) .4, HR .6, so r = 2; sigma .5, epsilon 1: x = .5 * 2 + .5 * .5 * 1 = 1.25.

    The network says 1.5: v = (1.25 - 1.5) / .5 = -.5; target = .5 * 1 - 2 = -1.5; e = (-.5 + 1.5)^2 = 1.
    """
    model = TinyFlow(TinyFlowConfig(kappa=0.5, residual_std=0.1), Constant(1.5), 4, CPU)
    shape = (1, 3, 8, 8)
    condition = Condition(torch.full(shape, 0.4), ("",))
    arguments = (torch.full(shape, 0.6), condition, torch.tensor([0.5]), torch.ones(shape))
    for branch in ("policy", "reference"):
        assert model.error(*arguments, branch).tolist() == pytest.approx([1.0], abs=1e-5)


def test_error_is_the_residuals_over_sigma_squared() -> None:
    """v - target = (r - r_hat) / sigma, whatever epsilon: the same network is judged a hundredfold at sigma .1."""
    model = TinyFlow(TinyFlowConfig(kappa=0.5, residual_std=0.1), Constant(1.5), 4, CPU)
    condition = Condition(torch.full((2, 3, 8, 8), 0.4), ("", ""))
    noise = torch.randn(2, 3, 8, 8, generator=torch.manual_seed(0))
    errors = model.error(torch.full((2, 3, 8, 8), 0.6), condition, torch.tensor([1.0, 0.1]), noise, "policy")
    assert errors.tolist() == pytest.approx([0.25, 25.0], rel=1e-4)


def test_error_is_the_mean_over_channels_and_pixels() -> None:
    model = TinyFlow(TinyFlowConfig(residual_std=1.0, kappa=1.0), Constant(0.0), 4, CPU)
    latents = torch.arange(24.0).view(2, 3, 2, 2)
    condition = Condition(torch.zeros(2, 3, 2, 2), ("", ""))
    errors = model.error(latents, condition, torch.ones(2), torch.zeros_like(latents), "policy")
    assert errors.tolist() == pytest.approx([latents[row].square().mean().item() for row in (0, 1)])
    assert errors.dtype == torch.float32


def test_a_perfect_prediction_has_no_error_and_samples_the_image() -> None:
    """Euler steps of a constant residual end on it exactly, whatever the noise: the chain is consistent."""
    for steps, shift in ((1, 1.0), (2, 1.0), (6, 3.0), (max_steps(1.0), 1.0), (max_steps(3.0), 3.0)):
        config = TinyFlowConfig(kappa=0.5, residual_std=0.1, shift=shift)
        model = TinyFlow(config, Constant(2.0), steps, CPU)
        condition = Condition(torch.full((2, 3, 8, 8), 0.4), ("", ""))
        noise = torch.randn(2, 3, 8, 8, generator=torch.manual_seed(0))
        images = sample(model, condition, noise).images
        assert torch.allclose(images, torch.full_like(images, 0.6), atol=1e-5), steps
        errors = model.error(images, condition, torch.full((2,), 0.5), noise, "policy")
        assert errors.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_no_gradient_reaches_the_reference() -> None:
    model = tiny_model()
    condition = model.condition(torch.rand(2, 3, 8, 8), ("", ""))
    arguments = (torch.rand(2, 3, 32, 32), condition, torch.tensor([0.3, 0.9]), torch.randn(2, 3, 32, 32))
    assert not model.error(*arguments, "reference").requires_grad
    model.error(*arguments, "policy").sum().backward()
    assert all(parameter.grad is None for parameter in model.reference.parameters())
    assert all(parameter.grad is not None for parameter in model.policy.parameters())
    assert torch.equal(model.error(*arguments, "policy"), model.error(*arguments, "reference"))


def test_the_reference_is_a_copy() -> None:
    model = tiny_model()
    before = model.digest("reference")
    assert model.digest("policy") == before
    with torch.no_grad():
        next(model.policy.parameters()).add_(1.0)
    assert model.digest("reference") == before
    assert model.digest("policy") != before


def test_sampling_keeps_the_network_in_its_mode_and_records_no_graph() -> None:
    model = tiny_model()
    condition = model.condition(torch.rand(1, 3, 8, 8), ("",))
    for mode in (True, False):
        model.policy.train(mode)
        images = sample(model, condition, torch.randn(1, 3, 32, 32)).images
        assert model.policy.training is mode
        assert not images.requires_grad


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 8), (9, 13), (5, 6)])
def test_any_size_is_restored_and_trained_on(height: int, width: int) -> None:
    model = tiny_model()
    lr = torch.rand(1, 3, height, width, generator=torch.manual_seed(0))
    condition = model.condition(lr, ("",))
    assert condition.upsampled.shape == (1, 3, 4 * height, 4 * width)
    shape = (1, *model.noise_shape(4 * height, 4 * width))
    noise = torch.randn(shape, generator=torch.manual_seed(1))
    images = sample(model, condition, noise).images
    assert images.shape == condition.upsampled.shape
    assert images.min() >= 0.0
    assert images.max() <= 1.0
    assert model.error(images, condition, torch.tensor([0.5]), noise, "policy").isfinite().all()


def test_samples_depend_on_the_noise_and_on_the_policy() -> None:
    model = tiny_model()
    condition = model.condition(torch.rand(1, 3, 8, 8), ("",)).repeat(2)
    noise = torch.randn(2, 3, 32, 32)
    images = sample(model, condition, noise, "policy").images
    assert not torch.equal(images[0], images[1])
    assert torch.equal(images, sample(model, condition, noise, "reference").images)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.mul_(1.1)
    assert not torch.equal(images, sample(model, condition, noise, "policy").images)
    assert torch.equal(images, sample(model, condition, noise, "reference").images)


def test_save_and_load(tmp_path: Path) -> None:
    model = tiny_model(kappa=0.7, residual_std=0.2)
    model.save(tmp_path)
    loaded = TinyFlow.load(tmp_path, 2, CPU)
    assert loaded.config == model.config
    assert loaded.digest("policy") == loaded.digest("reference") == model.digest("policy")
    assert loaded.sampler.digest == model.sampler.digest
    settings = TinyFlowSettings(family="tiny_flow", path=tmp_path, steps=2, colour_fix="none")
    assert saved_digests(settings) == (model.digest("reference"), model.sampler.digest)
    other = tiny_model(seed=1, kappa=0.7, residual_std=0.2)
    reference = other.digest("reference")
    other.load_policy(tmp_path)
    assert (other.digest("policy"), other.digest("reference")) == (model.digest("policy"), reference)


def test_digests_see_weights_config_and_steps() -> None:
    model = tiny_model()
    assert tiny_model().digest("policy") == model.digest("policy")
    assert tiny_model(seed=1).digest("policy") != model.digest("policy")
    assert tiny_model(kappa=0.6).digest("policy") != model.digest("policy")
    assert tiny_model(steps=3).digest("policy") == model.digest("policy")
    assert tiny_model(steps=3).sampler.digest != model.sampler.digest


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def narrower(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"channels": [16, 24]}))


def without_a_tensor(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state.pop(sorted(state)[0])
    save_file(state, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json; set backbone.path"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors; set backbone.path"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json does not describe a tiny_flow model"),
        (lambda folder: (folder / "config.json").write_text("[1]"), "config.json does not describe a tiny_flow model"),
        (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe"), "config.json does not describe"),
        (lambda folder: (folder / "config.json").write_text('{"channels": [8], "wings": 2}'), "config.json .*wings"),
        (cut, "model.safetensors is damaged .* restore it"),
        (narrower, r"model.safetensors does not fit the model .*config.json describes: \d+ tensors, first \['unet"),
        (without_a_tensor, r"model.safetensors does not fit .* 1 tensors, first \['unet\.conv_in\.bias'\]"),
    ],
)
def test_damaged_folders_are_named(
    tmp_path: Path, tiny_folder: Path, damage: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    damage(folder)
    with pytest.raises(BadInput, match=message):
        TinyFlow.load(folder, 2, CPU)


def test_euler_steps_are_even_or_shifted_towards_noise() -> None:
    assert tiny_model(steps=4).sampler.levels == (1.0, 0.75, 0.5, 0.25)
    shifted = TinyFlow(TinyFlowConfig(shift=3.0), Constant(0.0), 4, CPU).sampler.levels
    assert shifted == pytest.approx((1.0, 0.9, 0.75, 0.5))  # 3u / (1 + 2u)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_last_step_of_the_longest_chain_starts_at_the_floor(shift: float) -> None:
    config = TinyFlowConfig(shift=shift)
    most = max_steps(shift)
    assert TinyFlow(config, Constant(0.0), most, CPU).sampler.levels[-1] >= SIGMA_FLOOR - 1e-9
    with pytest.raises(BadInput, match=f"takes 1 to {most}"):
        TinyFlow(config, Constant(0.0), most + 1, CPU)


@pytest.mark.parametrize("steps", [0, max_steps(1.0) + 1])
def test_steps_beyond_the_floor_are_refused(steps: int) -> None:
    with pytest.raises(BadInput, match=rf"backbone\.steps is {steps}: this model takes 1 to 20"):
        tiny_model(steps=steps)


def test_the_registry_loads_what_the_settings_name(tmp_path: Path, tiny_folder: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "weights")
    settings = write_params(tmp_path, backbone={"path": "weights", "steps": 3})
    model = load_backbone(settings, tmp_path, CPU)
    assert isinstance(model, TinyFlow)
    assert model.sampler.steps == 3
    assert model.digest("reference") == TinyFlow.load(tiny_folder, 3, CPU).digest("reference")
