"""Stable Diffusion 3 with a ControlNet: against the stock pipeline, by its formula, and what it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import SD3ControlNetModel, StableDiffusion3ControlNetPipeline
from torch import Tensor

from components.backbones.base import Condition
from components.backbones.controlnet import vae
from components.backbones.loading import load_model
from components.backbones.restore import sample, sample_rows
from components.backbones.sd3_controlnet import SD3ControlNet
from components.errors import BadInput
from tests.backbones.tiny_sd3 import sd3_settings, write_base, write_control

CPU = torch.device("cpu")
PROMPTS = ("a cat", "dog")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("sd3") / "base")


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_control(tmp_path_factory.mktemp("sd3") / "control")


@pytest.fixture
def load(base: Path, control: Path) -> Callable[..., SD3ControlNet]:
    def loaded(folder: Path = control, **changes: Any) -> SD3ControlNet:
        return SD3ControlNet.load(folder, sd3_settings(base, control, **changes), CPU)

    return loaded


def lr_images(count: int = 2, height: int = 8, width: int = 12) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.manual_seed(3))


def noise_of(model: SD3ControlNet, condition: Condition) -> Tensor:
    shape = model.noise_shape(*condition.upsampled.shape[-2:])
    return torch.randn(len(condition.prompts), *shape, generator=torch.manual_seed(4))


def shake(model: SD3ControlNet) -> None:
    """Move every weight that trains, as training would."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))


def training_batch(model: SD3ControlNet) -> tuple[Tensor, Condition, Tensor, Tensor]:
    condition = model.condition(lr_images(), PROMPTS)
    latents = model.encode(torch.rand(condition.upsampled.shape, generator=torch.manual_seed(6)))
    return latents, condition, torch.tensor([0.3, 0.9]), noise_of(model, condition)


@pytest.mark.parametrize(
    ("lora_rank", "guidance", "unpooled", "size"),
    [(0, 3.5, True, (8, 12)), (2, 3.5, False, (5, 7)), (0, 1.0, False, (8, 12))],
)
def test_a_saved_policy_restores_alike_in_the_stock_pipeline(
    load: Callable[..., SD3ControlNet],
    base: Path,
    tmp_path: Path,
    lora_rank: int,
    guidance: float,
    unpooled: bool,
    size: tuple[int, int],
) -> None:
    start = write_control(tmp_path / "start", force_zeros_for_pooled_projection=unpooled)
    model = load(start, lora_rank=lora_rank, guidance_scale=guidance, conditioning_scale=0.7, steps=3)
    shake(model)
    condition = model.condition(lr_images(2, *size), PROMPTS)
    noise = noise_of(model, condition)
    ours = sample(model, condition, noise).images
    assert (ours - sample(model, condition, noise, "reference").images).abs().max() > 0.01

    saved = tmp_path / "saved"
    saved.mkdir()
    model.save(saved)
    stock = StableDiffusion3ControlNetPipeline.from_pretrained(
        base, controlnet=SD3ControlNetModel.from_pretrained(saved)
    )
    stock.set_progress_bar_config(disable=True)
    padded = vae.pad_to_multiple(condition.upsampled, model.multiple)
    height, width = condition.upsampled.shape[-2:]
    theirs = stock(
        list(PROMPTS), negative_prompt=["blur", "blur"], control_image=padded * 2.0 - 1.0, latents=noise,
        num_inference_steps=3, guidance_scale=guidance, controlnet_conditioning_scale=0.7, max_sequence_length=8,
        height=padded.shape[-2], width=padded.shape[-1], output_type="pt",
    ).images  # fmt: skip
    assert ours.shape == condition.upsampled.shape
    assert torch.allclose(ours, theirs[..., :height, :width], atol=1e-4)


def test_error_is_the_mean_squared_error_of_the_velocity(load: Callable[..., SD3ControlNet], control: Path) -> None:
    """x_t = (1 - sigma) x0 + sigma eps, target eps - x0, without guidance, from the real classes' own passes."""
    model = load()
    latents, condition, t, noise = training_batch(model)
    stock = SD3ControlNetModel.from_pretrained(control)
    sigma = t.view(2, 1, 1, 1)
    pooled = condition.encodings["pooled"]
    inputs = {
        "hidden_states": (1 - sigma) * latents + sigma * noise,
        "timestep": 1000 * t,
        "encoder_hidden_states": condition.encodings["prompt"],
        "return_dict": False,
    }
    with torch.no_grad():
        (residuals,) = stock(
            controlnet_cond=condition.encodings["control"], pooled_projections=torch.zeros_like(pooled), **inputs
        )
        velocity = model.transformer(block_controlnet_hidden_states=residuals, pooled_projections=pooled, **inputs)[0]
    expected = (velocity - (noise - latents)).square().mean(dim=(1, 2, 3))
    assert torch.allclose(model.error(latents, condition, t, noise, "policy"), expected, rtol=1e-5)


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_both_errors_at_once_are_the_two_errors(load: Callable[..., SD3ControlNet], lora_rank: int) -> None:
    model = load(lora_rank=lora_rank)
    batch = training_batch(model)
    training = [parameter for parameter in model.policy.parameters() if parameter.requires_grad]
    for parameter in training:
        parameter.requires_grad_(False)
    policy, reference = model.errors(*batch)
    assert torch.equal(policy, reference)
    for parameter in training:
        parameter.requires_grad_(True)
    policy, reference = model.errors(*batch)
    # Not to the last bit: torch multiplies a strided batch with weights that train as one matrix, with frozen ones
    # batch by batch, and with AVX-512 the two round differently: a number of a velocity by some 10 roundings of 6e-8,
    # and the mean of their squares by twice that at most. What does not agree differs by parts of a hundred.
    assert torch.allclose(policy, reference, rtol=1e-5, atol=0.0)
    shake(model)
    policy, again = model.errors(*batch)
    assert torch.equal(again, reference)
    assert (policy - reference).abs().min() > 1e-5
    assert torch.equal(policy, model.error(*batch, "policy"))
    assert torch.equal(again, model.error(*batch, "reference"))


@pytest.mark.parametrize("blocks", [1, 2, 4, 6])
@pytest.mark.parametrize("changes", [{}, {"gradient_checkpointing": True}])
def test_gradients_reach_what_counts_of_the_control_branch_and_nothing_else(
    load: Callable[..., SD3ControlNet], tmp_path: Path, blocks: int, changes: dict[str, Any]
) -> None:
    """The transformer's last of four blocks takes no residual: of six control blocks 0, 1 and 3 are read."""
    model = load(write_control(tmp_path, num_layers=blocks), **changes)
    policy, reference = model.errors(*training_batch(model))
    assert not reference.requires_grad
    policy.sum().backward()
    for name, parameter in model.policy.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
    read = {1: {0}, 2: {0, 1}, 4: {0, 1, 2}, 6: {0, 1, 3}}[blocks]
    outputs = model.policy.controlnet_blocks
    assert {place for place, block in enumerate(outputs) if block.weight.grad is not None} == read
    assert model.reference is not None
    for network in (model.transformer, model.vae, model.reference, *model.encoders):
        assert all(parameter.grad is None for parameter in network.parameters())


def test_rows_do_not_depend_on_the_batch(load: Callable[..., SD3ControlNet]) -> None:
    model = load(dtype="bfloat16")
    condition = model.condition(lr_images(), PROMPTS).repeat(3)
    noise = noise_of(model, condition)
    whole = sample_rows(model, condition, noise, "policy").images
    alone = sample_rows(model, condition.take([4]), noise[4:5], "policy").images
    assert torch.equal(alone[0], whole[4])
    assert whole.dtype == torch.float32
    assert {p.dtype for p in model.policy.parameters()} == {torch.float32}


def test_a_policy_is_saved_and_loaded(load: Callable[..., SD3ControlNet], tmp_path: Path) -> None:
    model = load()
    start = model.digest("reference")
    shake(model)
    model.save(tmp_path)
    other = load()
    other.load_policy(tmp_path)
    assert other.digest("policy") == model.digest("policy") != start
    assert other.digest("reference") == start
    plain = other.settings
    changed = [{"guidance_scale": 2.0}, {"negative_prompt": "noise"}, {"max_sequence_length": 9}, {"steps": 3}]
    sampler = set()
    for change in [{}, *changed]:
        other.settings = plain.model_copy(update=change)
        sampler.add(other.sampler.digest)
    assert len(sampler) == 1 + len(changed)


def test_the_family_is_found_by_its_name(base: Path, control: Path) -> None:
    assert isinstance(load_model(control, sd3_settings(base, control), CPU), SD3ControlNet)


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def no_t5(base: Path, control: Path) -> str:
    shutil.rmtree(base / "text_encoder_3")
    return "backbone.base.*lacks text_encoder_3"


def other_family(base: Path, control: Path) -> str:
    change_json(base / "model_index.json", transformer=["diffusers", "FluxTransformer2DModel"])
    return "no SD3Transformer2DModel.*backbone.family"


def dynamic_shift(base: Path, control: Path) -> str:
    change_json(base / "scheduler/scheduler_config.json", use_dynamic_shifting=True)
    return "use_dynamic_shifting"


def inpainting_base(base: Path, control: Path) -> str:
    change_json(base / "transformer/config.json", in_channels=9)
    return "takes 9 channels"


def inpainting_control(base: Path, control: Path) -> str:
    change_json(control / "config.json", extra_conditioning_channels=1)
    return "more than one image's latents"


def other_control(base: Path, control: Path) -> str:
    change_json(control / "config.json", _class_name="FluxControlNetModel")
    return "FluxControlNetModel, not a SD3ControlNetModel"


def other_width(base: Path, control: Path) -> str:
    change_json(control / "config.json", num_attention_heads=3)
    return "num_attention_heads 3 for 2"


def bare(base: Path, control: Path) -> str:
    (control / "config.json").unlink()
    return "bare state dict.*config.json"


@pytest.mark.parametrize(
    "damage",
    [no_t5, other_family, dynamic_shift, inpainting_base, inpainting_control, other_control, other_width, bare],
)
def test_what_does_not_fit_is_refused_before_any_weight_is_read(
    base: Path, control: Path, tmp_path: Path, damage: Callable[[Path, Path], str]
) -> None:
    copies = [Path(shutil.copytree(source, tmp_path / source.name)) for source in (base, control)]
    message = damage(*copies)
    for weights in copies[0].rglob("*.safetensors"):
        weights.unlink()
    with pytest.raises(BadInput, match=message):
        SD3ControlNet.load(copies[1], sd3_settings(*copies), CPU)


def test_large_pictures_are_refused_before_any_work(
    load: Callable[..., SD3ControlNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 places of 16 px a side: 128 px."""
    model = load(max_lr_pixels=200)
    monkeypatch.setattr(model, "encode_prompt", pytest.fail)
    with pytest.raises(BadInput, match="132 x 32 px is larger than the 128 px"):
        model.condition(lr_images(1, 8, 33), ("",))
    with pytest.raises(BadInput, match=r"backbone\.max_lr_pixels"):
        model.condition(lr_images(1, 20, 20), ("",))
