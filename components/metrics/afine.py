"""A-FINE's fidelity and naturalness terms from one network, in batches.

pyiqa's module normalises its input in place, takes one image a call, and holds a copy of the network per term. Here
the network is shared, the HR image is encoded once per LR, and the candidates are encoded together.
"""

import weakref
from functools import cache
from pathlib import Path
from typing import Any

import torch

from components.errors import BadInput
from components.metrics.base import Context, check_inputs, digest_of, need
from components.metrics.table import TABLE, Kind, MetricInfo
from components.metrics.through_pyiqa import network

_REVISION = 1
_PATCH = 32  # CLIP ViT-B/32: sides must be multiples


class _Seen:
    """A tensor that was seen: the same object, alive, and not written to since."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor, self._version = weakref.ref(tensor), tensor._version

    def is_still(self, tensor: torch.Tensor) -> bool:
        return self._tensor() is tensor and self._version == tensor._version


class AFineTerms:
    """The network, and what it gave for the HR image and the candidates seen last: the second term costs nothing."""

    def __init__(self, net: Any) -> None:
        self._net = net
        self._mean = torch.tensor(net.mean).view(1, 3, 1, 1)
        self._std = torch.tensor(net.std).view(1, 3, 1, 1)
        self._hr: tuple[_Seen, Context] | None = None
        self._last: tuple[_Seen, Context, torch.Tensor, torch.Tensor] | None = None

    def _encode(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Normalised images and CLIP's feature maps of `[M, 3, H, W]`; the input is left as it is."""
        normalised = (images - self._mean.to(images)) / self._std.to(images)
        _, features = self._net.clip_model.encode_image(normalised)
        return (normalised, *features)

    def context(self, hr: torch.Tensor | None) -> Context:
        """The encoded HR image, the same object for both terms."""
        if hr is None:
            return Context(None, None)
        if self._hr is None or not self._hr[0].is_still(hr):
            self._hr = (_Seen(hr), Context(hr, None, self._encode(hr)))
        return self._hr[1]

    def terms(self, candidates: torch.Tensor, context: Context) -> tuple[torch.Tensor, torch.Tensor]:
        """Fidelity and naturalness `[M]`, each; fidelity is NaN where the context has no HR image."""
        if self._last is None or not self._last[0].is_still(candidates) or self._last[1] is not context:
            self._last = (_Seen(candidates), context, *self._compute(candidates, context))
        return self._last[2], self._last[3]

    def _compute(self, candidates: torch.Tensor, context: Context) -> tuple[torch.Tensor, torch.Tensor]:
        normalised, *features = self._encode(candidates)
        naturalness = _each(self._net.net_scale_nr, self._net.net_qhead(normalised, features))
        if not context.features:
            return torch.full_like(naturalness, float("nan")), naturalness
        # expand, not repeat: every image is compared by itself, and the HR image is not copied.
        of_hr, *kept = (part.expand(len(candidates), *part.shape[1:]) for part in context.features)
        fidelity = _each(self._net.net_scale_fr, self._net.net_dhead(normalised, of_hr, features, kept))
        return fidelity, naturalness


def _each(calibration: Any, values: torch.Tensor) -> torch.Tensor:
    """A calibration of single values (it branches on them), value by value, `[M]`; it costs next to nothing."""
    return torch.cat([calibration(value).reshape(1) for value in values])


class AFine:
    """One term of A-FINE: `afine_fr` or `afine_nr`."""

    def __init__(self, row: MetricInfo, device: torch.device, digest: str, shared: AFineTerms) -> None:
        self.info = row
        self.device = device
        self.digest = digest
        self._shared = shared

    @torch.no_grad()
    def prepare(self, hr: torch.Tensor | None, lr: torch.Tensor | None) -> Context:
        """See `Metric.prepare`; keeps the encoded HR image."""
        if self.info.kind is Kind.FR:
            need(self.info, hr, "HR image")
        return self._shared.context(hr)

    @torch.no_grad()
    def __call__(self, candidates: torch.Tensor, context: Context) -> torch.Tensor:
        """See `Metric.__call__`. Sides must be multiples of 32, the patch of CLIP ViT-B/32."""
        check_inputs(self.info, candidates, context.hr)
        if candidates.shape[2] % _PATCH or candidates.shape[3] % _PATCH:
            raise BadInput(
                f"metric {self.info.name} needs sides that are multiples of {_PATCH} px, these are "
                f"{candidates.shape[3]} x {candidates.shape[2]}: set prepare's crop size accordingly"
            )
        fidelity, naturalness = self._shared.terms(candidates, context)
        return (fidelity if self.info.kind is Kind.FR else naturalness).float().cpu()


@cache
def _shared(device: torch.device, folder: Path) -> AFineTerms:
    return AFineTerms(network(TABLE["afine_fr"], device, folder))


def digest(row: MetricInfo, folder: Path) -> str:
    """What `build` gives its metric as digest, see `base.digest`."""
    return digest_of(row, folder, _REVISION)


def build(row: MetricInfo, device: torch.device, folder: Path) -> AFine:
    """The adapter of `row`, see `base.load`."""
    return AFine(row, device, digest(row, folder), _shared(device, folder))
