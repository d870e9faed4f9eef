"""C-SD2 samples and encodes as stock diffusers does, on tiny pipelines of the real classes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from components.backbones.restore import sample, sample_rows
from components.backbones.sd2_controlnet import SD2ControlNet
from components.errors import BadInput
from tests.backbones.sd2_controlnet.rig import (
    Folders,
    change,
    denoising,
    lrs,
    noise_as_stock_draws,
    stock_image,
    with_settings,
)
from tests.backbones.tiny_pipelines import sd_settings


@pytest.mark.parametrize("guidance_scale", [3.5, 1.0])
@pytest.mark.parametrize("kind", ["sd2", "sd1_v"])
def test_stock_diffusers_gives_the_same_image(
    kind: str, guidance_scale: float, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folders: Folders = request.getfixturevalue(kind)
    model = folders.load(guidance_scale=guidance_scale, conditioning_scale=0.8)
    change(model.policy)
    model.save(tmp_path)
    prompts = ("a cat, sharp", "")
    condition = model.condition(lrs(height=16), prompts)
    noise = noise_as_stock_draws(model.noise_shape(64, 32), (11, 12))
    call: dict[str, Any] = {
        "negative_prompt": ["blur, noise"] * 2,
        "guidance_scale": guidance_scale,
        "controlnet_conditioning_scale": 0.8,
    }

    def stock(control: Path, **changes: Any) -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in (11, 12)]
        return stock_image(
            folders, control, condition.upsampled, list(prompts), generator=generators, **(call | changes)
        )

    ours = sample(model, condition, noise, "policy").images
    assert ours.shape == (2, 3, 64, 32)
    assert torch.allclose(ours, stock(tmp_path), atol=1e-4)
    assert torch.allclose(sample(model, condition, noise, "reference").images, stock(folders.control), atol=1e-4)
    # what the equality would not survive
    assert not torch.allclose(ours, stock(folders.control), atol=1e-2)
    assert not torch.allclose(ours, stock(tmp_path, controlnet_conditioning_scale=0.4), atol=1e-2)
    assert not torch.allclose(ours, sample(model, condition, noise.flip(0), "policy").images, atol=1e-2)


def test_guidance_and_its_negative_prompt_count(sd2: Folders) -> None:
    noise = torch.randn(1, *sd2.plain.noise_shape(32, 32), generator=torch.manual_seed(0))
    images = []
    for changes in ({}, {"negative_prompt": ""}, {"guidance_scale": 7.0}, {"guidance_scale": 1.0}):
        model = with_settings(sd2.plain, **changes)
        images.append(sample(model, model.condition(lrs(1), ("a cat",)), noise).images)
    for index, image in enumerate(images):
        assert all(not torch.allclose(image, other, atol=1e-4) for other in images[index + 1 :])


def test_every_steps_noise_counts(sd2: Folders) -> None:
    model = sd2.plain
    assert model.noise_shape(32, 32) == (3, 4, 4, 4)
    condition = model.condition(lrs(1), ("",))
    noise = torch.randn(1, 3, 4, 4, 4, generator=torch.manual_seed(0))
    base = sample(model, condition, noise)
    for step in range(3):
        other = noise.clone()
        other[:, step] = -other[:, step]
        assert not torch.allclose(sample(model, condition, other).images, base.images, atol=1e-3), step
    assert base.latents is not None
    assert base.latents.shape == (1, *model.latent_shape(32, 32))


def test_sizes_that_the_vae_does_not_divide_are_padded_and_cropped(sd2: Folders) -> None:
    model = with_settings(sd2.plain, scale=2)
    lr = lrs(1, 9, 13)
    condition = model.condition(lr, ("a",))
    assert condition.upsampled.shape == (1, 3, 18, 26)
    assert model.noise_shape(18, 26) == (3, 4, 3, 4)
    noise = noise_as_stock_draws(model.noise_shape(18, 26), (1,))
    samples = sample(model, condition, noise)
    assert samples.images.shape == (1, 3, 18, 26)
    assert model.encode(samples.images).shape == (1, *model.latent_shape(18, 26)) == (1, 4, 3, 4)

    padded = nn.functional.pad(condition.upsampled, (0, 6, 0, 6), mode="replicate")
    stock = stock_image(
        sd2, sd2.control, padded, ["a"], negative_prompt=["blur, noise"], guidance_scale=3.5,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    assert torch.allclose(samples.images, stock[..., :18, :26], atol=1e-4)
    assert samples.latents is not None
    error = model.error(samples.latents, condition, torch.tensor([0.5]), torch.randn(1, 4, 3, 4), "policy")
    assert torch.isfinite(error).all()


def test_bits_do_not_depend_on_the_batch(sd2: Folders) -> None:
    model = with_settings(sd2.plain, sample_block=2)
    condition = model.condition(lrs(1), ("a cat",))
    noise = torch.randn(3, *model.noise_shape(32, 32), generator=torch.manual_seed(0))
    whole = sample_rows(model, condition.repeat(3), noise, "policy")
    alone = sample_rows(model, condition, noise[2:], "policy")
    assert torch.equal(whole.images[2:], alone.images)
    assert whole.latents is not None
    assert alone.latents is not None
    assert torch.equal(whole.latents[2:], alone.latents)


def test_encoding_is_the_mode_scaled(sd2: Folders) -> None:
    model = sd2.plain
    images = torch.rand(2, 3, 32, 32, generator=torch.manual_seed(1))
    expected = model.vae.encode(images * 2 - 1).latent_dist.mean * 0.18215
    assert torch.allclose(model.encode(images), expected, atol=1e-5)
    assert torch.equal(model.encode(images), model.encode(images))
    assert not model.encode(images).requires_grad


def test_channels_last_is_a_layout_not_another_result(sd2: Folders) -> None:
    plain, other = sd2.plain, sd2.load(channels_last=True)
    for part in (other.unet.unet.conv_in, other.policy.conv_in, other.vae.encoder.conv_in):
        assert part.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(other.errors(*denoising(other))[0], plain.errors(*denoising(plain))[0], rtol=1e-4)


def test_tiles_bound_the_vaes_memory_on_large_images(sd2: Folders) -> None:
    model = sd2.load(vae_tiling=True, steps=1, guidance_scale=1.0)
    sides: list[int] = []
    model.vae.decoder.register_forward_hook(lambda _, inputs, output: sides.append(max(output.shape[-2:])))
    model.vae.encoder.register_forward_hook(lambda _, inputs, output: sides.append(max(inputs[0].shape[-2:])))
    condition = model.condition(lrs(1, 28, 20), ("",))
    images = sample(model, condition, torch.randn(1, *model.noise_shape(112, 80))).images
    assert images.shape == (1, 3, 112, 80)
    assert model.encode(images).shape == (1, *model.latent_shape(112, 80))
    assert len(sides) > 2
    assert max(sides) <= 64  # the VAE's own sample size


def test_an_lr_above_the_limit_is_refused(sd2: Folders) -> None:
    model = with_settings(sd2.plain, max_lr_pixels=63)
    with pytest.raises(BadInput, match=r"8 x 8 px has more than backbone\.max_lr_pixels 63: .*raise the limit"):
        model.condition(lrs(1), ("",))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_on_a_gpu(sd2: Folders, dtype: str) -> None:
    plain = sd2.plain
    settings = sd_settings(sd2.base, sd2.control, dtype=dtype, channels_last=True, compile=True)
    model = SD2ControlNet.load(sd2.control, settings, torch.device("cuda"))
    noise = torch.randn(1, *plain.noise_shape(32, 32), generator=torch.manual_seed(0))
    on_gpu = sample(model, model.condition(lrs(1), ("a",)), noise).images.cpu()
    assert torch.allclose(on_gpu, sample(plain, plain.condition(lrs(1), ("a",)), noise).images, atol=0.05)
    latents, condition, t, epsilon = denoising(model)
    with torch.autocast("cuda", getattr(torch, dtype)):
        policy, reference = model.errors(latents.cuda(), condition, t.cuda(), epsilon.cuda())
    assert torch.equal(policy, reference)
    policy.sum().backward()
    assert all(weight.grad is not None for weight in model.policy.parameters())
