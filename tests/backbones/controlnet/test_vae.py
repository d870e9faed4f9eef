import pytest
import torch
from diffusers import AutoencoderKL

from components.backbones.controlnet import vae
from components.backbones.upsampling import upsample
from components.errors import BadInput
from components.plan.counting import LiveBytes


def made(**config: float) -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
                         up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, **config).eval()  # fmt: skip


@pytest.mark.parametrize("shift", [None, 0.25])
def test_latents_are_shifted_and_scaled(shift: float | None) -> None:
    model = made(scaling_factor=0.5, **({} if shift is None else {"shift_factor": shift}))
    images = torch.rand(3, 3, 8, 8)
    latents = vae.encode(model, images)
    expected = (model.encode(images * 2 - 1).latent_dist.mean - (shift or 0.0)) * 0.5
    assert torch.allclose(latents, expected, atol=1e-5)
    decoded = (model.decode(expected / 0.5 + (shift or 0.0)).sample / 2 + 0.5).clamp(0, 1)
    assert torch.allclose(vae.decode(model, latents), decoded, atol=1e-5)
    assert vae.downsampling(model) == 2


def test_a_row_does_not_depend_on_the_others() -> None:
    model = made()
    images = torch.rand(3, 3, 8, 8)
    assert torch.equal(vae.encode(model, images)[1:2], vae.encode(model, images[1:2]))
    latents = torch.randn(3, 4, 4, 4)
    assert torch.equal(vae.decode(model, latents)[2:], vae.decode(model, latents[2:]))


def test_autocast_of_the_caller_changes_no_latent() -> None:
    model = made()
    images = torch.rand(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(vae.encode(model, images), vae.encode(made(), images))
        inside = vae.encode(model, images)
    assert torch.equal(inside, vae.encode(model, images))


def test_padding_repeats_the_border() -> None:
    images = torch.arange(6.0).view(1, 1, 2, 3)
    padded = vae.pad_to_multiple(images, 4)
    assert padded[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    assert vae.pad_to_multiple(padded, 4) is padded


def test_upsampling_keeps_the_range_and_the_limit() -> None:
    lr = (torch.arange(16.0).view(1, 1, 4, 4) % 2).expand(1, 3, 4, 4)
    large = upsample(lr, 4, 16)
    assert large.shape == (1, 3, 16, 16)
    assert (large.min(), large.max()) == (0.0, 1.0)
    with pytest.raises(BadInput, match=r"4 x 4 px has more than backbone\.max_lr_pixels 15"):
        upsample(lr, 4, 15)


def decode_peak(model: AutoencoderKL, side: int) -> int:
    live = LiveBytes([*model.parameters(), *model.buffers()])
    with live:
        vae.decode(model, torch.zeros(1, 4, side, side))
    return live.peak


def test_tiles_bound_the_memory_to_one_tile_and_the_image() -> None:
    """Whole, activations grow with the image, attention with its square; in tiles only what is put together grows."""
    whole, tiled = made(), made()
    tiled.enable_tiling()
    factor = vae.downsampling(tiled)
    sides = (32, 64)
    pixels = [3 * 4 * (side * factor) ** 2 for side in sides]  # bytes of the float32 image
    tile = decode_peak(whole, tiled.tile_latent_min_size)
    for side, size in zip(sides, pixels, strict=True):
        # The tiles, overlapping by a quarter, and their rows; the image, and itself in [0, 1].
        assert decode_peak(tiled, side) < tile + 5 * size
    assert decode_peak(whole, sides[-1]) > 2 * decode_peak(tiled, sides[-1])


def steps(image: torch.Tensor) -> torch.Tensor:
    """Mean difference of each column of pixels from the one before it."""
    return image.diff(dim=-1).abs().mean(dim=(0, 1, 2))


def test_borders_of_the_vaes_tiles_are_like_any_other_place() -> None:
    whole, tiled = made(), made()
    tiled.enable_tiling()
    latents = torch.randn(1, 4, 40, 40, generator=torch.manual_seed(2))
    one, other = vae.decode(whole, latents), vae.decode(tiled, latents)
    assert not torch.equal(one, other)
    stride = int(tiled.tile_latent_min_size * (1 - tiled.tile_overlap_factor))
    borders = [place * vae.downsampling(tiled) - 1 for place in range(stride, 40, stride)]
    ratios = [float(steps(image)[borders].mean() / steps(image).mean()) for image in (one, other)]
    assert abs(ratios[0] - ratios[1]) < 0.15


def test_vae_tiles_of_another_tone_are_blended() -> None:
    highest = []
    for overlap in (0.25, 0.0):
        model = made()
        model.enable_tiling()
        model.tile_overlap_factor = overlap
        count = iter(range(1000))
        model.decoder.register_forward_hook(lambda _, inputs, output, count=count: 0.1 * output + next(count) % 2)
        highest.append(float(steps(vae.decode(model, torch.zeros(1, 4, 40, 40))).max()))
    blended, pasted = highest
    assert pasted > 4 * blended
