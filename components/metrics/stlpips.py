"""Shift-tolerant LPIPS (Ghildyal & Liu, ECCV 2022), with the HR image's features computed once for all candidates."""

from functools import reduce
from pathlib import Path

import torch
from torch import nn

from components.metrics.base import Context, check_inputs, digest_of, need
from components.metrics.blurred_conv import BlurredConv
from components.metrics.table import MetricInfo
from components.metrics.through_pyiqa import network
from components.metrics.winograd import with_winograd

_REVISION = 2
_BLOCK = 4
"""Images at a time: on a CPU more of them leave the cache, and fewer read the weights more often."""


def _unit(features: torch.Tensor) -> torch.Tensor:
    """Features `[M, C, h, w]`, which it changes, with unit length over the channels."""
    # In place, here and below: fresh memory costs a CPU more than the arithmetic.
    return features.div_(features.square().sum(dim=1, keepdim=True).sqrt_().add_(1e-10))


class _SlidingMax(nn.Module):
    """`nn.MaxPool2d(size, stride=1)` as maxima of shifted views: the same values, several times faster on a CPU."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for dim in (2, 3):
            length = images.shape[dim] - self._size + 1
            shifted = [images.narrow(dim, start, length) for start in range(self._size)]
            images = reduce(torch.maximum, shifted)
        return images


def _with_sliding_max(trunk: nn.Module) -> nn.Module:
    for parent in list(trunk.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MaxPool2d) and (child.stride, child.padding) == (1, 0):
                assert isinstance(child.kernel_size, int)
                setattr(parent, name, _SlidingMax(child.kernel_size))
    return trunk


class Stlpips:
    """Sum over five layers of the mean, over the positions, of the weighted squared feature difference."""

    def __init__(self, row: MetricInfo, device: torch.device, folder: Path) -> None:
        self.info = row
        self.device = device
        self.digest = digest(row, folder)
        net = network(row, device, folder)
        self._scaling = net.scaling_layer
        # VGG's many channels run a fifth faster innermost; AlexNet's few do not care.
        self._layout = torch.channels_last if row.name == "stlpips-vgg" else torch.contiguous_format
        if row.name == "stlpips":
            convolution, _, activation = net.net.slice1
            net.net.slice1 = nn.Sequential(BlurredConv(convolution), activation)
        trunk = _with_sliding_max(net.net).to(memory_format=self._layout)
        self._trunk = with_winograd(trunk) if device.type == "cpu" else trunk
        self._heads = [head.model[-1].weight.flatten() for head in net.lins]

    def _features(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        scaled = self._scaling(2 * images - 1).contiguous(memory_format=self._layout)
        return tuple(_unit(layer) for layer in self._trunk(scaled))

    @torch.no_grad()
    def prepare(self, hr: torch.Tensor | None, lr: torch.Tensor | None) -> Context:
        """See `Metric.prepare`; keeps the HR image's five feature maps, `[1, C, h, w]` each."""
        image = need(self.info, hr, "HR image").to(self.device)
        check_inputs(self.info, image, None)
        return Context(image, None, self._features(image))

    @torch.no_grad()
    def __call__(self, candidates: torch.Tensor, context: Context) -> torch.Tensor:
        """See `Metric.__call__`."""
        check_inputs(self.info, candidates, context.hr)
        return torch.cat([self._distances(block.to(self.device), context) for block in candidates.split(_BLOCK)]).cpu()

    def _distances(self, candidates: torch.Tensor, context: Context) -> torch.Tensor:
        total = torch.zeros(len(candidates), device=self.device)
        for layer, of_hr, head in zip(self._features(candidates), context.features, self._heads, strict=True):
            # Mean over the positions first: what is left to weigh is one number a channel.
            total += layer.sub_(of_hr).square_().mean(dim=(2, 3)) @ head
        return total


def digest(row: MetricInfo, folder: Path) -> str:
    """What `build` gives its metric as digest, see `base.digest`."""
    return digest_of(row, folder, _REVISION)


def build(row: MetricInfo, device: torch.device, folder: Path) -> Stlpips:
    """The adapter of `row`, see `base.load`."""
    return Stlpips(row, device, folder)
