"""A convolution and the blurred subsampling after it as one strided convolution: a third of the multiplications.

ST-LPIPS on AlexNet begins with 11 x 11 taps at full resolution, reflects two rows of the result at every border, blurs
it with (1, 2, 1) / 4 and keeps every second row; columns alike. Away from the borders that is one convolution of
13 x 13 taps and stride 2. At the near border the blur is symmetric about row 1 of the result, so that the first output
repeats the second; the far one does the same where the result's length is odd, and else halves the sum of the last two
rows.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_BLUR = (0.25, 0.5, 0.25)
_LAST_OF_EVEN = (0.5, 0.5)


class BlurredConv(nn.Module):
    """`blurred(convolution(images))` for a frozen convolution of stride 1, with the blur described above."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self._taps = int(convolution.kernel_size[0])
        self._padding = int(convolution.padding[0])
        weight = convolution.weight.detach().double()
        self._weights = nn.ParameterDict(
            {
                f"{down}{across}": nn.Parameter(_folded(weight, down, across), requires_grad=False)
                for down in (3, 2)
                for across in (3, 2)
            }
        )
        self._bias = None if convolution.bias is None else nn.Buffer(convolution.bias.detach().clone())

    def forward(self, images: Tensor) -> Tensor:
        """`[M, K, (h + 3) // 2, (w + 3) // 2]`, where h x w is the convolution's size, of `[M, C, H, W]`."""
        padded = F.pad(images, [self._padding] * 4)
        height, width = (size - self._taps + 1 for size in padded.shape[-2:])
        rows = [self._row(padded, 3, width)]
        if height % 2 == 0:
            rows.append(self._row(padded[..., height - 2 :, :], 2, width))
        return F.pad(torch.cat(rows, dim=2), (1, width % 2, 1, height % 2), mode="replicate")

    def _row(self, padded: Tensor, down: int, width: int) -> Tensor:
        columns = [self._part(padded, down, 3)]
        if width % 2 == 0:
            columns.append(self._part(padded[..., width - 2 :], down, 2))
        return torch.cat(columns, dim=3)

    def _part(self, padded: Tensor, down: int, across: int) -> Tensor:
        return F.conv2d(padded, self._weights[f"{down}{across}"], self._bias, stride=2)


def _folded(weight: Tensor, down: int, across: int) -> Tensor:
    """Taps of the convolution followed by a blur of `down` x `across` taps."""
    vertical, horizontal = (
        torch.tensor(_BLUR if taps == 3 else _LAST_OF_EVEN, dtype=weight.dtype, device=weight.device)
        for taps in (down, across)
    )
    blur = torch.outer(vertical, horizontal).expand(weight.shape[1], 1, down, across)
    # Two correlations in a row are one, whose taps are the full convolution of both.
    return F.conv_transpose2d(weight, blur, groups=weight.shape[1]).float()
