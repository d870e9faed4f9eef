"""VMAF (Li et al. 2016) of single pictures, by the package `vmaf-torch`, in its NEG variant.

A picture has no motion, so the feature is 0. NEG ("no enhancement gain", Netflix 2020) does not reward contrast and
sharpness beyond the HR's, which the plain variant does. Over Y of YCbCr in studio range, as in a video.
"""

from pathlib import Path

import torch

from components.metrics.base import Context, check_inputs, digest_of, need
from components.metrics.full_reference import y_of_ycbcr
from components.metrics.table import MetricInfo

_REVISION = 1


class Vmaf:
    """About 100 for equal pictures, 0 and less for what is beyond use."""

    def __init__(self, row: MetricInfo, device: torch.device, folder: Path) -> None:
        from vmaf_torch import VMAF  # noqa: PLC0415  # an extra

        self.info = row
        self.device = device
        self.digest = digest(row, folder)
        # In float64: its features are quotients of sums over all pixels, and candidates of one LR differ by little.
        self._network = VMAF(enable_motion=False, NEG=True).double().to(device).eval().requires_grad_(False)

    def prepare(self, hr: torch.Tensor | None, lr: torch.Tensor | None) -> Context:
        """See `Metric.prepare`; keeps the HR image's luma."""
        image = need(self.info, hr, "HR image").to(self.device)
        return Context(image, None, (_luma(image),))

    @torch.no_grad()
    def __call__(self, candidates: torch.Tensor, context: Context) -> torch.Tensor:
        """See `Metric.__call__`."""
        check_inputs(self.info, candidates, context.hr)
        luma = _luma(candidates.to(self.device))
        values: torch.Tensor = self._network(context.features[0].expand_as(luma), luma)
        return values.float().reshape(len(candidates)).cpu()


def _luma(images: torch.Tensor) -> torch.Tensor:
    """Y in [16, 235], rounded as in an 8-bit video, `[M, 1, H, W]` float64."""
    return y_of_ycbcr(images).mul(255.0).round().double()[:, None]


def digest(row: MetricInfo, folder: Path) -> str:
    """What `build` gives its metric as digest, see `base.digest`."""
    return digest_of(row, folder, _REVISION)


def build(row: MetricInfo, device: torch.device, folder: Path) -> Vmaf:
    """The adapter of `row`, see `base.load`."""
    return Vmaf(row, device, folder)
