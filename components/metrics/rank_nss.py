"""`rank_nss`: a ranking head on natural-scene statistics, kept out of the reward to judge what the reward did.

Its features are those of BRISQUE's family (Mittal et al. 2012): moments of the locally normalised image and of products
of neighbours, here of luma and chroma at three scales. They share nothing with a network's features, so that a policy
that pleases `rank_effnet` alone does not please this.
"""

from pathlib import Path

import torch
import torch.nn.functional as F

from components.metrics.rank_head import RankMetric, digest
from components.metrics.table import MetricInfo

__all__ = ["build", "digest"]

_SCALES, _PLANES, _STATISTICS = 3, 3, 23
_WINDOW, _SIGMA = 7, 7 / 6  # of the local mean and deviation, as in BRISQUE
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
_EPSILON = 1e-4  # keeps logarithms finite on flat planes; on the scale of normalised values, far below photos'


class SceneStatistics:
    """Statistics `[M, size]` of images `[M, 3, H, W]` in [0, 1]; finite for constant images too."""

    size = _SCALES * _PLANES * _STATISTICS

    def __init__(self, device: torch.device) -> None:
        offsets = torch.arange(_WINDOW, dtype=torch.float32) - _WINDOW // 2
        window = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
        self._window = (window / window.sum()).to(device)
        self._colours = torch.tensor(  # Y, Cb, Cr
            [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], device=device
        )

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """See the class."""
        planes = 255 * torch.einsum("mchw,pc->mphw", images, self._colours)
        statistics = []
        for scale in range(_SCALES):
            if scale:
                planes = F.avg_pool2d(planes, 2)
            statistics.append(self._of_planes(planes))
        return torch.cat(statistics, dim=1)

    def _blur(self, planes: torch.Tensor) -> torch.Tensor:
        pad = _WINDOW // 2
        flat = F.pad(planes, (pad, pad, pad, pad), mode="replicate").flatten(0, 1)[:, None]
        rows = F.conv2d(flat, self._window.view(1, 1, 1, -1))
        return F.conv2d(rows, self._window.view(1, 1, -1, 1)).view_as(planes)

    def _of_planes(self, planes: torch.Tensor) -> torch.Tensor:
        planes = planes - planes.mean((2, 3), keepdim=True)  # float32 would lose small variances on bright planes
        mean = self._blur(planes)
        deviation = (self._blur(planes.square()) - mean.square()).clamp_min(0).sqrt()
        normalised = (planes - mean) / (deviation + 1)
        contrast = (deviation + 0.1).log()
        found = [contrast.mean((2, 3)), contrast.std((2, 3))]
        square = normalised.square().mean((2, 3)) + _EPSILON
        absolute = normalised.abs().mean((2, 3)) + _EPSILON
        found += [
            square.log(),
            absolute.log(),
            2 * absolute.log() - square.log(),  # shape of the distribution
            normalised.pow(3).mean((2, 3)) / square.pow(1.5),
            (normalised.pow(4).mean((2, 3)) / square.square() + _EPSILON).log(),
        ]
        for rows, columns in _SHIFTS:
            product = normalised * torch.roll(normalised, (rows, columns), dims=(2, 3))
            left, right = (
                part.square().mean((2, 3)) + _EPSILON for part in (product.clamp_max(0), product.clamp_min(0))
            )
            spread = product.abs().mean((2, 3)) + _EPSILON
            found += [product.mean((2, 3)) / square, left.log(), right.log(), spread.log()]
        return torch.stack(found, dim=2).flatten(1)


def build(row: MetricInfo, device: torch.device, folder: Path) -> RankMetric:
    """The metric of `row`, see `base.load`."""
    return RankMetric(row, device, folder, SceneStatistics(device))
