"""Computes a metric that the user wrote (components/metrics/brought.py), and holds it to the protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from components.errors import BadInput
from components.metrics.base import Context, check_inputs, digest_of, need
from components.metrics.brought import brought, code_files
from components.metrics.table import Kind, MetricInfo
from components.storage.digests import of_file

if TYPE_CHECKING:
    from components.metrics.brought import Score

_REVISION = 1
_COMPARED = {Kind.FR: "HR image", Kind.LR: "LR input"}


class Own:
    """The metric `row.name` behind the protocol."""

    def __init__(self, row: MetricInfo, device: torch.device, folder: Path) -> None:
        self.info = row
        self.device = device
        self.digest = digest(row, folder)
        self._score = brought(row.name).load(device)

    def prepare(self, hr: torch.Tensor | None, lr: torch.Tensor | None) -> Context:
        """See `Metric.prepare`."""
        kind = self.info.kind
        if kind is Kind.NR:
            return Context(None, None)
        image = need(self.info, hr if kind is Kind.FR else lr, _COMPARED[kind]).to(self.device)
        return Context(image, None) if kind is Kind.FR else Context(None, image)

    @torch.no_grad()
    def __call__(self, candidates: torch.Tensor, context: Context) -> torch.Tensor:
        """See `Metric.__call__`."""
        check_inputs(self.info, candidates, context.hr)
        reference = context.hr if self.info.kind is Kind.FR else context.lr
        parts = [candidates] if self.info.batched else [image[None] for image in candidates]
        return torch.cat([values_of(self.info, self._score, part.to(self.device), reference) for part in parts]).cpu()


def values_of(row: MetricInfo, score: Score, images: torch.Tensor, reference: torch.Tensor | None) -> torch.Tensor:
    """What the user's function gives, `[M]` float32.

    Raises:
        BadInput: it is something else.
    """
    found = score(images, reference)
    if not isinstance(found, torch.Tensor) or found.numel() != len(images):
        told = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise BadInput(f"metric {row.name} gave {told} for {len(images)} images: it must return a tensor [M]")
    return found.float().reshape(len(images))


def gradual(name: str, device: torch.device) -> Score:
    """Its function, for gradients."""
    return brought(name).load(device)


def digest(row: MetricInfo, folder: Path) -> str:
    """Over its code, its files and its row; see `base.digest`."""
    own = brought(row.name)
    files = [f"{path.name} {of_file(path)}" for path in (*code_files(row.name), *own.present(row.name))]
    return digest_of(row, folder, _REVISION, *files)


def build(row: MetricInfo, device: torch.device, folder: Path) -> Own:
    """The adapter of `row`, see `base.load`."""
    return Own(row, device, folder)
