"""A metric of one's own: how much of the HR's edges a restoration lost, or invented."""

import torch
from torch import Tensor

from components.metrics.brought import OwnMetric
from components.metrics.table import Kind


def gradients(images: Tensor) -> Tensor:
    """Differences of luma to the right and down, `[M, 2, H - 1, W - 1]`."""
    luma = images.mean(dim=1)
    right, down = luma[:, :-1, 1:] - luma[:, :-1, :-1], luma[:, 1:, :-1] - luma[:, :-1, :-1]
    return torch.stack([right, down], dim=1)


def lost_edges(candidates: Tensor, hr: Tensor | None) -> Tensor:
    """Mean absolute difference of the gradients, `[M]`: 0 for the HR itself."""
    assert hr is not None  # a metric of kind FR is never without
    return (gradients(candidates) - gradients(hr)).abs().mean(dim=(1, 2, 3))


LOST_EDGES = OwnMetric(
    kind=Kind.FR,
    higher_is_better=False,
    value_range="0 .. 2",
    about="mean absolute difference of luma gradients",
    load=lambda device: lost_edges,
    min_size=2,
    differentiable=True,
)
