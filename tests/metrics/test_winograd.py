"""Winograd's convolution against the direct one, on maps that whole tiles do and do not cover."""

import pytest
import torch
from torch import nn

from components.metrics.winograd import WinogradConv, with_winograd


def rounding(direct: nn.Conv2d, images: torch.Tensor) -> float:
    """Most that float32 can cost: a rounding of the largest number on the way, whatever the order of the sums.

    The rows of |B|, |G| and |A| sum to 10, 1 and 19 at most, and each is applied twice: to the picture, to the taps, to
    the products, of which there is one a channel. A wrong tap is off by as much as a tap, far more.
    """
    largest = float(direct.weight.abs().max() * images.abs().max())
    return 2.0**-24 * (10 * 1 * 19) ** 2 * direct.in_channels * largest


def convolution(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias).requires_grad_(False)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 17), (1, 5), (3, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_direct_convolution(height: int, width: int, bias: bool) -> None:
    direct = convolution(6, 5, bias)
    images = torch.rand(3, 6, height, width)
    torch.testing.assert_close(WinogradConv(direct)(images), direct(images), rtol=0, atol=rounding(direct, images))


def test_an_impulse_gives_the_flipped_taps() -> None:
    direct = convolution(1, 1, bias=False)
    direct.weight.copy_(torch.arange(9.0).view(1, 1, 3, 3))
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 4, 3] = 1.0
    expected = torch.zeros(8, 8)
    expected[3:6, 2:5] = torch.tensor([[8.0, 7, 6], [5, 4, 3], [2, 1, 0]])
    torch.testing.assert_close(WinogradConv(direct)(image)[0, 0], expected, rtol=0, atol=rounding(direct, image))


def test_images_do_not_mix() -> None:
    direct = convolution(4, 4)
    layer = WinogradConv(direct)
    images = torch.rand(3, 4, 7, 7)
    alone = torch.cat([layer(image[None]) for image in images])
    torch.testing.assert_close(layer(images), alone, rtol=0, atol=rounding(direct, images))


def test_only_wide_plain_convolutions_are_replaced() -> None:
    wide, narrow = convolution(128, 256), convolution(64, 256)
    strided = nn.Conv2d(128, 256, 3, padding=1, stride=2)
    reflecting = nn.Conv2d(128, 256, 3, padding=1, padding_mode="reflect")
    network = with_winograd(nn.Sequential(wide, nn.Sequential(convolution(256, 256)), narrow, strided, reflecting))
    kinds = [type(layer) for layer in network.modules() if not isinstance(layer, nn.Sequential)]
    assert kinds == [WinogradConv, WinogradConv, nn.Conv2d, nn.Conv2d, nn.Conv2d]
