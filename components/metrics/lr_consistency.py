"""How well a candidate, reduced to LR size, matches the LR: what fidelity can mean where there is no HR."""

from pathlib import Path

import torch
import torch.nn.functional as F

from components.metrics.base import Context, check_inputs, digest_of, need
from components.metrics.full_reference import psnr
from components.metrics.table import MetricInfo

_REVISION = 1


class LrConsistency:
    """PSNR in dB between the LR and the candidate under antialiased bicubic reduction."""

    def __init__(self, row: MetricInfo, device: torch.device, folder: Path) -> None:
        self.info = row
        self.device = device
        self.digest = digest(row, folder)

    def prepare(self, hr: torch.Tensor | None, lr: torch.Tensor | None) -> Context:
        """See `Metric.prepare`."""
        return Context(None, need(self.info, lr, "LR input").to(self.device))

    @torch.no_grad()
    def __call__(self, candidates: torch.Tensor, context: Context) -> torch.Tensor:
        """See `Metric.__call__`."""
        check_inputs(self.info, candidates, None)
        lr = need(self.info, context.lr, "LR input")
        size = (lr.shape[2], lr.shape[3])
        images = candidates.to(self.device)
        reduced = F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=True)
        return psnr(reduced.clamp(0.0, 1.0), lr).cpu()


def digest(row: MetricInfo, folder: Path) -> str:
    """What `build` gives its metric as digest, see `base.digest`."""
    return digest_of(row, folder, _REVISION)


def build(row: MetricInfo, device: torch.device, folder: Path) -> LrConsistency:
    """The adapter of `row`, see `base.load`."""
    return LrConsistency(row, device, folder)
