"""What our ranking metrics share: a small head on frozen features, trained by `train_rank.py`."""

from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file
from torch import nn

from components.errors import BadInput
from components.metrics.base import Context, check_inputs, digest_of
from components.metrics.table import MetricInfo
from components.storage.digests import of_file

_REVISION = 1
_HIDDEN = 64
_FOLDER = Path(__file__).parent / "weights_data"


class Features(Protocol):
    """Pooled features of images; `size` is their number."""

    size: int

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """`[M, size]` float32 of images `[M, 3, H, W]` in [0, 1]."""
        ...


class Head(nn.Module):
    """Standardised features `[M, F]` to a score `[M]`, higher is better; its zero and scale mean nothing."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.zeros(features))
        self.deviation = nn.Buffer(torch.ones(features))
        self.layers = nn.Sequential(nn.Linear(features, _HIDDEN), nn.GELU(), nn.Dropout(0.2), nn.Linear(_HIDDEN, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        scores: torch.Tensor = self.layers((features - self.mean) / self.deviation)
        return scores[:, 0]


def head_file(name: str) -> Path:
    """The committed head of ranking metric `name` (safetensors); its model card (.json) lies beside it."""
    return _FOLDER / f"{name}.safetensors"


def digest(row: MetricInfo, folder: Path) -> str:
    """The digest of ranking metric `row`, see `base.digest`."""
    path = head_file(row.name)
    if not path.is_file():
        raise BadInput(
            f"metric {row.name} lacks its head {path}: git restore it, or train it with "
            f"python -m recipes.train_rank --metric {row.name}"
        )
    return digest_of(row, folder, _REVISION, of_file(path))


class RankMetric:
    """The metric: features and head."""

    def __init__(self, row: MetricInfo, device: torch.device, folder: Path, features: Features) -> None:
        self.info = row
        self.device = device
        self.digest = digest(row, folder)
        self._features = features
        self._head = Head(features.size)
        self._head.load_state_dict(load_file(head_file(row.name)))
        self._head.to(device).eval().requires_grad_(False)

    def prepare(self, hr: torch.Tensor | None, lr: torch.Tensor | None) -> Context:
        """See `Metric.prepare`."""
        return Context(None, None)

    @torch.no_grad()
    def __call__(self, candidates: torch.Tensor, context: Context) -> torch.Tensor:
        """See `Metric.__call__`."""
        check_inputs(self.info, candidates, None)
        scores: torch.Tensor = self._head(self._features(candidates.to(self.device)))
        return scores.cpu()
