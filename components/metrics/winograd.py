"""3 x 3 convolutions by Winograd's minimal filtering, F(4 x 4, 3 x 3): a quarter of the multiplications.

Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016: every 4 x 4 tile of the output is
A' [(G g G') * (B' d B)] A of a 6 x 6 tile d of the input, where the products are elementwise over the tile and summed
over the input's channels. oneDNN has it for newer CPUs only. The result differs from a direct convolution by rounding,
a few times more of it.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TILE, _INPUT = 4, 6
_B = ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0),
      (0, 4, 0, -5, 0, 1))  # fmt: skip
_G = ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6), (1 / 24, 1 / 12, 1 / 6),
      (1 / 24, -1 / 12, 1 / 6), (0, 0, 1))  # fmt: skip
_A = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))

_MIN_INPUT, _MIN_OUTPUT = 128, 256
"""Channels from which it is the faster one: with fewer, the transforms cost more than is saved."""


class WinogradConv(nn.Module):
    """A frozen `nn.Conv2d` of 3 x 3 taps, stride 1 and padding 1."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight = convolution.weight.detach().double()
        g = torch.tensor(_G, dtype=torch.float64, device=weight.device)
        self._outputs = weight.shape[0]
        transformed = torch.einsum("ai,bj,kcij->abck", g, g, weight).flatten(0, 1)
        self._weight = nn.Buffer(transformed.float().contiguous())
        bias = convolution.bias
        self._bias = nn.Buffer(torch.zeros(self._outputs) if bias is None else bias.detach().clone())
        self._b, self._a = nn.Buffer(_both_ways(_B, weight.device)), nn.Buffer(_both_ways(_A, weight.device))

    def forward(self, images: Tensor) -> Tensor:
        """`[M, K, h, w]`, channels innermost in memory, of `[M, C, h, w]`."""
        count, channels, height, width = images.shape
        down, across = -(-height // _TILE), -(-width // _TILE)
        # One pixel of padding, and whole tiles at the far ends.
        padding = (1, _TILE * across - width + 1, 1, _TILE * down - height + 1)
        padded = F.pad(images, padding).permute(0, 2, 3, 1).contiguous()
        image, row, column, _ = padded.stride()
        tiles = padded.as_strided(
            (_INPUT, _INPUT, count, down, across, channels), (row, column, image, _TILE * row, _TILE * column, 1)
        )
        points = _INPUT * _INPUT
        inputs = (self._b @ tiles.reshape(points, -1)).view(points, count * down * across, channels)
        products = torch.bmm(inputs, self._weight)
        outputs = (self._a @ products.view(points, -1)).view(_TILE, _TILE, count, down, across, self._outputs)
        outputs = outputs.permute(2, 3, 0, 4, 1, 5).reshape(count, _TILE * down, _TILE * across, self._outputs)
        return (outputs[:, :height, :width] + self._bias).permute(0, 3, 1, 2)


def _both_ways(matrix: Sequence[Sequence[float]], device: torch.device) -> Tensor:
    """`matrix` applied to the rows and the columns of a flattened tile at once."""
    one = torch.tensor(matrix, dtype=torch.float32, device=device)
    return torch.kron(one, one)


def with_winograd(network: nn.Module) -> nn.Module:
    """`network`, frozen and on a CPU, with its wide 3 x 3 convolutions replaced."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and _fits(child):
                setattr(parent, name, WinogradConv(child))
    return network


def _fits(layer: nn.Conv2d) -> bool:
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode)
    wide = layer.in_channels >= _MIN_INPUT and layer.out_channels >= _MIN_OUTPUT
    return wide and shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")
