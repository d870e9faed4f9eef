"""Metrics that say in which direction an image gets better: their values, and how they depend on the pixels.

`MetricInfo.differentiable` says which. Scoring has faster ways to the same values, in place and without a gradient.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from components.errors import BadInput
from components.metrics.base import check_inputs, need
from components.metrics.full_reference import psnr, y_of_ycbcr
from components.metrics.own import gradual, values_of
from components.metrics.rank_effnet import Backbone
from components.metrics.rank_head import Head, head_file
from components.metrics.table import EFFICIENTNET_LITE0, TABLE, Kind, MetricInfo, info, is_brought
from components.metrics.through_pyiqa import network
from components.metrics.weights import required
from components.storage.packages import weights_folder

Raw = Callable[[Tensor, Tensor | None], Tensor]
"""Images `[M, 3, H, W]` and their HR `[M, 3, H, W]`, or None, to values `[M]`."""


class Gradual:
    """A metric, aligned: what is higher is better. Called with images that carry a gradient.

    Args:
        row: of the metric.
        raw: its values.
    """

    def __init__(self, row: MetricInfo, raw: Raw) -> None:
        self.info = row
        self._raw = raw

    def __call__(self, images: Tensor, hr: Tensor | None = None) -> Tensor:
        """Values `[M]` float32 of images `[M, 3, H, W]` in [0, 1] against their HR images, as many.

        Raises:
            BadInput: sizes do not fit, or the metric needs an HR image and there is none.
        """
        if self.info.kind is Kind.FR:
            hr = need(self.info, hr, "HR image")
        check_inputs(self.info, images, None if hr is None else hr[:1])
        values = self._raw(images.float(), hr).float().reshape(len(images))
        return values if self.info.higher_is_better else -values


def differentiable() -> list[str]:
    """Names of all that can."""
    return [name for name, row in TABLE.items() if row.differentiable]


def load_gradual(name: str, device: torch.device, folder: Path | None = None) -> Gradual:
    """Metric `name` with its gradient.

    Raises:
        BadInput: it has none, or a weight file is missing.
    """
    row, folder = info(name), folder or weights_folder()
    if not row.differentiable:
        raise BadInput(
            f"metric {name} has no gradient here, and train.source asks for one: take one of "
            f"{', '.join(differentiable())}"
        )
    required(name, folder)
    build = _brought if is_brought(name) else _RAW[name]
    return Gradual(row, build(row, device, folder))


def load_features(device: torch.device, folder: Path | None = None) -> Backbone:
    """The frozen network whose maps tell whether two restorations show the same (`Backbone.maps`).

    Raises:
        BadInput: its weight file is missing.
    """
    folder = folder or weights_folder()
    required("rank_effnet", folder)
    return Backbone(folder / EFFICIENTNET_LITE0.path).to(device)


def _psnr(row: MetricInfo, device: torch.device, folder: Path) -> Raw:
    del device, folder
    of_y = row.name == "psnr_y"

    def raw(images: Tensor, hr: Tensor | None) -> Tensor:
        assert hr is not None
        if of_y:
            return psnr(y_of_ycbcr(images)[:, None], y_of_ycbcr(hr)[:, None])
        return psnr(images, hr)

    return raw


def _through_pyiqa(row: MetricInfo, device: torch.device, folder: Path) -> Raw:
    net = network(row, device, folder)

    def raw(images: Tensor, hr: Tensor | None) -> Tensor:
        values: Tensor = net(images) if hr is None else net(images, hr)
        return values

    return raw


def _rank_effnet(row: MetricInfo, device: torch.device, folder: Path) -> Raw:
    features = Backbone(folder / row.weights[0].path).to(device)
    head = Head(features.size)
    head.load_state_dict(load_file(head_file(row.name)))
    head.to(device).eval().requires_grad_(False)

    def raw(images: Tensor, hr: Tensor | None) -> Tensor:
        del hr
        values: Tensor = head(features(images))
        return values

    return raw


def _brought(row: MetricInfo, device: torch.device, folder: Path) -> Raw:
    del folder
    score = gradual(row.name, device)
    return lambda images, hr: values_of(row, score, images, hr)


_RAW: dict[str, Callable[[MetricInfo, torch.device, Path], Raw]] = {
    "psnr": _psnr,
    "psnr_y": _psnr,
    "stlpips": _through_pyiqa,
    "stlpips-vgg": _through_pyiqa,
    "rank_effnet": _rank_effnet,
}
