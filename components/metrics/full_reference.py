"""PSNR and SSIM as pyiqa defines them, with the HR image's share computed once for all candidates.

`psnr` is over RGB and `ssim` over the rounded luma of YIQ, pyiqa's defaults; `psnr_y` and `ssim_y` are over Y of YCbCr,
the papers' protocol (pyiqa's `test_y_channel` with `color_space='ycbcr'`). They are about 1.4 dB apart.
"""

from pathlib import Path

import torch
import torch.nn.functional as F

from components.metrics.base import Context, check_inputs, digest_of, need
from components.metrics.table import MetricInfo

_REVISION = 1
_WINDOW, _SIGMA = 11, 1.5  # Wang et al. 2004
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


class Psnr:
    """10 log10(1 / MSE) over RGB, or over Y of YCbCr; MSE + 1e-8, so that identical images have 80 dB."""

    def __init__(self, row: MetricInfo, device: torch.device, folder: Path) -> None:
        self.info = row
        self.device = device
        self.digest = digest(row, folder)
        self._of_y = row.name == "psnr_y"

    def prepare(self, hr: torch.Tensor | None, lr: torch.Tensor | None) -> Context:
        """See `Metric.prepare`."""
        return Context(need(self.info, hr, "HR image").to(self.device), None)

    @torch.no_grad()
    def __call__(self, candidates: torch.Tensor, context: Context) -> torch.Tensor:
        """See `Metric.__call__`."""
        hr = need(self.info, context.hr, "HR image")
        check_inputs(self.info, candidates, hr)
        images = candidates.to(self.device)
        if self._of_y:
            images, hr = y_of_ycbcr(images)[:, None], y_of_ycbcr(hr)[:, None]
        return psnr(images, hr).cpu()


def psnr(images: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """PSNR in dB `[M]` of images `[M, C, H, W]` against `[1, C, H, W]`, both in [0, 1]."""
    error = (images - hr).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(1 / (error + 1e-8))


def y_of_ycbcr(images: torch.Tensor) -> torch.Tensor:
    """Y of YCbCr (ITU-R BT.601, studio range) in [16/255, 235/255], `[M, H, W]`, of images `[M, 3, H, W]` in [0, 1]."""
    weights = torch.tensor([65.481, 128.553, 24.966], device=images.device, dtype=images.dtype)
    return (torch.einsum("mchw,c->mhw", images, weights) + 16.0) / 255.0


def luma(images: torch.Tensor) -> torch.Tensor:
    """8-bit luma of images `[M, 3, H, W]` in [0, 1]: the Y of YIQ in [0, 255], rounded, `[M, H, W]` float64."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device, dtype=images.dtype)
    return torch.einsum("mchw,c->mhw", images, weights).mul(255.0).round().double()


def _rounded_y(images: torch.Tensor) -> torch.Tensor:
    return y_of_ycbcr(images).mul(255.0).round().double()


class Ssim:
    """SSIM of the luma, 11 x 11 Gaussian window, 'valid' borders, contrast term kept non-negative as pyiqa does."""

    def __init__(self, row: MetricInfo, device: torch.device, folder: Path) -> None:
        self.info = row
        self.device = device
        self.digest = digest(row, folder)
        offsets = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
        window = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
        self._window = (window / window.sum()).to(device)
        self._luma = _rounded_y if row.name == "ssim_y" else luma

    def _blur(self, maps: torch.Tensor) -> torch.Tensor:
        # The window is separable: two passes of 11 taps instead of 121.
        rows = F.conv2d(maps[:, None], self._window.view(1, 1, 1, -1))
        return F.conv2d(rows, self._window.view(1, 1, -1, 1))[:, 0]

    def prepare(self, hr: torch.Tensor | None, lr: torch.Tensor | None) -> Context:
        """See `Metric.prepare`; keeps the HR image's luma, mean and variance maps."""
        image = need(self.info, hr, "HR image").to(self.device)
        check_inputs(self.info, image, None)
        plane = self._luma(image)
        mean, square = self._blur(torch.cat([plane, plane.square()]))
        return Context(image, None, (plane, mean, square - mean.square()))

    @torch.no_grad()
    def __call__(self, candidates: torch.Tensor, context: Context) -> torch.Tensor:
        """See `Metric.__call__`."""
        check_inputs(self.info, candidates, context.hr)
        plane, mean, variance = context.features
        images = self._luma(candidates.to(self.device))
        means, squares, products = self._blur(torch.cat([images, images.square(), images * plane])).chunk(3)
        covariance = products - means * mean
        variances = squares - means.square()
        contrast = F.relu((2 * covariance + _C2) / (variances + variance + _C2))
        similarity = (2 * means * mean + _C1) / (means.square() + mean.square() + _C1) * contrast
        return similarity.mean(dim=(1, 2)).float().cpu()


def digest(row: MetricInfo, folder: Path) -> str:
    """What `build` gives its metric as digest, see `base.digest`."""
    return digest_of(row, folder, _REVISION)


def build(row: MetricInfo, device: torch.device, folder: Path) -> Psnr | Ssim:
    """The adapter of `row`, see `base.load`."""
    return Psnr(row, device, folder) if row.name.startswith("psnr") else Ssim(row, device, folder)
