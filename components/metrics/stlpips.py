"""Shift-tolerant LPIPS (Ghildyal & Liu, ECCV 2022), with the reference's features computed once for all candidates."""

from pathlib import Path

import torch

from components.metrics.base import Context, check_inputs, digest_of, need
from components.metrics.table import MetricInfo
from components.metrics.through_pyiqa import network

_REVISION = 1


def _unit(features: torch.Tensor) -> torch.Tensor:
    """Features `[M, C, h, w]` with unit length over the channels."""
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


class Stlpips:
    """Sum over five layers of the mean, over the positions, of the weighted squared feature difference."""

    def __init__(self, row: MetricInfo, device: torch.device, folder: Path) -> None:
        self.info = row
        self.device = device
        self.digest = digest_of(row, folder, _REVISION)
        net = network(row, device, folder)
        self._scaling, self._trunk = net.scaling_layer, net.net
        self._heads = [head.model[-1].weight.flatten() for head in net.lins]

    def _features(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(_unit(layer) for layer in self._trunk(self._scaling(2 * images - 1)))

    @torch.no_grad()
    def prepare(self, reference: torch.Tensor | None, lr: torch.Tensor | None) -> Context:
        """See `Metric.prepare`; keeps the reference's five feature maps, `[1, C, h, w]` each."""
        image = need(self.info, reference, "HR reference").to(self.device)
        check_inputs(self.info, image, None)
        return Context(image, None, self._features(image))

    @torch.no_grad()
    def __call__(self, candidates: torch.Tensor, context: Context) -> torch.Tensor:
        """See `Metric.__call__`."""
        check_inputs(self.info, candidates, context.reference)
        total = torch.zeros(len(candidates), device=self.device)
        for layer, reference, head in zip(
            self._features(candidates.to(self.device)), context.features, self._heads, strict=True
        ):
            # Mean over the positions first: what is left to weigh is one number a channel.
            total += (layer - reference).square().mean(dim=(2, 3)) @ head
        return total.cpu()


def build(row: MetricInfo, device: torch.device, folder: Path) -> Stlpips:
    """The adapter of `row`, see `base.load`."""
    return Stlpips(row, device, folder)
