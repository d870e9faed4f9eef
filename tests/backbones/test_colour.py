import pytest
import torch

from components.backbones.colour import ColourFix, fix_colours


def picture(seed: int, low: float = 0.3, high: float = 0.7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, 64, 64, generator=generator) * (high - low) + low


def test_adain_gives_the_mean_and_deviation_of_the_lr() -> None:
    images, upsampled = picture(0), picture(1, 0.2, 0.5)
    fixed = fix_colours(images, upsampled, "adain")
    assert torch.allclose(fixed.mean((2, 3)), upsampled.mean((2, 3)), atol=1e-5)
    assert torch.allclose(fixed.std((2, 3)), upsampled.std((2, 3)), atol=1e-4)
    assert torch.corrcoef(torch.stack([fixed[0, 0].flatten(), images[0, 0].flatten()]))[0, 1] > 0.999


def test_adain_of_a_constant_image_is_finite() -> None:
    fixed = fix_colours(torch.full((1, 3, 8, 8), 0.5), picture(0)[:1, :, :8, :8], "adain")
    assert torch.isfinite(fixed).all()


def test_wavelet_takes_a_colour_cast_away_and_keeps_detail() -> None:
    upsampled = picture(0).mean((2, 3), keepdim=True).expand(2, 3, 128, 128)
    detail = 0.1 * (torch.arange(128) % 2 * 2.0 - 1.0)  # the highest frequency there is
    fixed = fix_colours(upsampled + detail + 0.15, upsampled, "wavelet")
    inner = (..., slice(32, -32), slice(32, -32))  # the border is replicated, which is no pure frequency
    assert torch.allclose(fixed[inner], (upsampled + detail)[inner], atol=1e-3)


@pytest.mark.parametrize("how", ["none", "adain", "wavelet"])
def test_a_picture_with_the_right_colours_stays(how: ColourFix) -> None:
    images = picture(0)
    assert torch.allclose(fix_colours(images, images, how), images, atol=1e-5)


@pytest.mark.parametrize("how", ["adain", "wavelet"])
def test_one_lr_serves_all_candidates_and_the_range_holds(how: ColourFix) -> None:
    images, upsampled = picture(0, 0.0, 1.0), picture(1, 0.0, 1.0)[:1]
    fixed = fix_colours(images, upsampled, how)
    assert fixed.shape == images.shape
    assert fixed.min() >= 0.0
    assert fixed.max() <= 1.0
    assert torch.equal(fixed[1:], fix_colours(images[1:], upsampled, how))
