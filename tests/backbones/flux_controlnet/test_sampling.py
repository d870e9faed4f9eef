"""C-FLUX samples as the stock pipeline does, on a tiny FLUX of the real classes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import FluxControlNetModel, FluxControlNetPipeline

from components.backbones import flow_controlnet
from components.backbones.controlnet import vae
from components.backbones.flux_controlnet import FluxControlNet, pack, position_ids, unpack
from components.backbones.restore import sample, sample_rows
from components.errors import BadInput
from tests.backbones.flux_controlnet.rig import lr_images, noise_of, shake, training_batch
from tests.backbones.tiny_flux import flux_settings

CPU = torch.device("cpu")
PROMPTS = ("a cat", "dog")


@pytest.mark.parametrize("lora_rank", [0, 2])
@pytest.mark.parametrize("size", [(8, 12), (5, 7)])
def test_a_saved_policy_restores_alike_in_the_stock_pipeline(
    load: Callable[..., FluxControlNet], base: Path, tmp_path: Path, lora_rank: int, size: tuple[int, int]
) -> None:
    model = load(lora_rank=lora_rank, conditioning_scale=0.7, steps=3)
    shake(model)
    condition = model.condition(lr_images(2, *size), PROMPTS)
    noise = noise_of(model, condition)
    ours = sample(model, condition, noise)
    before = sample(model, condition, noise, "reference").images
    assert (ours.images - before).abs().max() > 0.01

    model.save(tmp_path)
    stock = FluxControlNetPipeline.from_pretrained(base, controlnet=FluxControlNetModel.from_pretrained(tmp_path))
    stock.set_progress_bar_config(disable=True)
    padded = vae.pad_to_multiple(condition.upsampled, model.multiple)
    height, width = condition.upsampled.shape[-2:]
    theirs = stock(
        list(PROMPTS), control_image=padded * 2.0 - 1.0, latents=pack(noise), num_inference_steps=3,
        guidance_scale=2.5, controlnet_conditioning_scale=0.7, max_sequence_length=8,
        height=padded.shape[-2], width=padded.shape[-1], output_type="pt",
    ).images  # fmt: skip
    assert ours.images.shape == condition.upsampled.shape
    assert torch.allclose(ours.images, theirs[..., :height, :width], atol=1e-4)


def test_packing_is_the_stock_pipelines() -> None:
    latents = torch.randn(2, 4, 6, 10)
    stock = FluxControlNetPipeline
    assert torch.equal(pack(latents), stock._pack_latents(latents, 2, 4, 6, 10))
    assert torch.equal(unpack(pack(latents), 6, 10), latents)
    assert torch.equal(position_ids(6, 10, CPU), stock._prepare_latent_image_ids(2, 3, 5, CPU, torch.float32))


def test_a_prompt_is_encoded_once(load: Callable[..., FluxControlNet]) -> None:
    model, calls = load(), []
    encode = model.encode_prompt
    model.encode_prompt = lambda prompt: calls.append(prompt) or encode(prompt)  # type: ignore[method-assign,func-returns-value]
    both = model.condition(lr_images(), PROMPTS)
    again = model.condition(lr_images(1), PROMPTS[1:])
    assert calls == list(PROMPTS)
    assert torch.equal(again.encodings["prompt"], both.encodings["prompt"][1:])
    for number in range(flow_controlnet.KEPT):
        model.encoded(f"{number}")
    model.encoded(PROMPTS[0])  # forgotten by now
    assert calls.count(PROMPTS[0]) == 2


def test_rows_do_not_depend_on_the_batch(load: Callable[..., FluxControlNet]) -> None:
    model = load()
    condition = model.condition(lr_images(2), PROMPTS).repeat(3)
    noise = noise_of(model, condition)
    whole = sample_rows(model, condition, noise, "policy")
    for row in (0, 4):
        alone = sample_rows(model, condition.take([row]), noise[row : row + 1], "policy")
        assert torch.equal(alone.images[0], whole.images[row])
        assert torch.equal(alone.latents[0], whole.latents[row])
    assert not torch.equal(whole.images[0], whole.images[1])
    alone = model.condition(lr_images(2)[1:], PROMPTS[1:])
    for name, rows in alone.encodings.items():
        assert torch.equal(rows[0], condition.encodings[name][3]), name


def test_latents_of_samples_are_what_error_takes(load: Callable[..., FluxControlNet]) -> None:
    model = load()
    condition = model.condition(lr_images(2, 5, 7), PROMPTS)
    samples = sample(model, condition, noise_of(model, condition))
    assert samples.latents is not None
    assert samples.latents.shape == (2, *model.latent_shape(20, 28)) == (2, 4, 4, 4)
    assert model.encode(samples.images).shape == samples.latents.shape
    assert torch.equal(model.encode(samples.images), model.encode(samples.images))
    error = model.error(samples.latents, condition, torch.tensor([0.5, 1.0]), noise_of(model, condition, 7), "policy")
    assert error.isfinite().all()


def test_vae_tiles_show_no_seam(load: Callable[..., FluxControlNet]) -> None:
    """The tile is 64 px here and 96 px are decoded in four: the step over the seam at px 48 is like any other."""
    whole, tiled = load(), load(vae_tiling=True, channels_last=True)
    condition = whole.condition(lr_images(1, 24, 24), ("",))
    noise = noise_of(whole, condition)
    one, other = sample(whole, condition, noise).images, sample(tiled, condition, noise).images
    assert not torch.equal(one, other)
    steps = other.diff(dim=-1).abs().mean(dim=(0, 1, 2))
    assert steps[47] < steps.mean() + 2 * steps.std()


def test_a_large_lr_is_refused_before_any_work(
    load: Callable[..., FluxControlNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(max_lr_pixels=95)
    monkeypatch.setattr(model.text, "encode_prompt", pytest.fail)
    with pytest.raises(BadInput, match=r"12 x 8 px.*backbone.max_lr_pixels 95"):
        model.condition(lr_images(), PROMPTS)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_text_encoders_may_stay_on_the_host_of_a_gpu(base: Path, control: Path) -> None:
    device = torch.device("cuda")
    here, there = (
        FluxControlNet.load(control, flux_settings(base, control, text_on_cpu=on), device) for on in (False, True)
    )
    assert {weight.device.type for encoder in there.encoders for weight in encoder.parameters()} == {"cpu"}
    conditions = [model.condition(lr_images(), PROMPTS) for model in (here, there)]
    for name in ("prompt", "pooled"):
        one, other = (condition.encodings[name] for condition in conditions)
        assert other.device.type == "cuda"
        assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_trains_and_samples_compiled_in_bfloat16(base: Path, control: Path) -> None:
    settings = flux_settings(
        base, control, dtype="bfloat16", compile=True, gradient_checkpointing=True, channels_last=True
    )
    model = FluxControlNet.load(control, settings, torch.device("cuda"))
    latents, condition, t, noise = training_batch(model)
    with torch.autocast("cuda", torch.bfloat16):
        policy, reference = model.errors(latents, condition, t.cuda(), noise.cuda())
    assert torch.allclose(policy, reference)
    policy.sum().backward()
    exact = FluxControlNet.load(control, flux_settings(base, control), CPU)
    images = sample(model, condition, noise).images.cpu()
    assert (images - sample(exact, training_batch(exact)[1], noise).images).abs().mean() < 0.05
