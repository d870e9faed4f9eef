"""The fused convolution against convolution, reflection, blur and subsampling one after the other."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from components.metrics.blurred_conv import BlurredConv


def one_after_the_other(convolution: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
    full = F.pad(convolution(images), (2, 2, 2, 2), mode="reflect")
    one = torch.tensor([1.0, 2.0, 1.0])
    taps = (torch.outer(one, one) / 16).expand(full.shape[1], 1, 3, 3)
    return F.conv2d(full, taps, stride=2, groups=full.shape[1])


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 16), (16, 17), (19, 23)])
@pytest.mark.parametrize(("taps", "padding"), [(11, 2), (3, 1)])
def test_equals_its_parts(height: int, width: int, taps: int, padding: int) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 4, taps, padding=padding).requires_grad_(False)
    images = torch.rand(2, 3, height, width)
    expected = one_after_the_other(convolution, images)
    torch.testing.assert_close(BlurredConv(convolution)(images), expected, rtol=1e-5, atol=1e-5)


def test_a_row_by_hand() -> None:
    """Rows of 0, 4, 8, 100 under the identity, reflected to 8, 4, 0, 4, 8, 100, 8, 4 and blurred at 4, 4 and 100."""
    identity = nn.Conv2d(1, 1, 1, bias=False).requires_grad_(False)
    identity.weight.fill_(1.0)
    image = torch.tensor([0.0, 4.0, 8.0, 100.0]).expand(1, 1, 4, 4).contiguous()
    # (8 + 2 * 4 + 0) / 4, (0 + 2 * 4 + 8) / 4, (8 + 2 * 100 + 8) / 4
    torch.testing.assert_close(BlurredConv(identity)(image)[0, 0, 0], torch.tensor([4.0, 4.0, 54.0]))
