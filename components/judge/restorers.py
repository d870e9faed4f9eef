"""One face for everything that is compared: a model's branch with its noise, or a peer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.artifacts.images import to_8bit, to_tensor
from components.backbones.base import Backbone, Branch, Source, candidate_noise, digest_of
from components.backbones.colour import ColourFix
from components.backbones.loading import SavedModel
from components.backbones.restore import restore
from components.backbones.samplers.base import Sampler
from components.judge.images import EvaluationImage
from components.storage import digests

CODE_VERSION = "2"
"""Raised whenever the same weights, settings and noise would give other pixels: older cached results are not used."""

Restorations = list[NDArray[np.uint8]]
Restore = Callable[[EvaluationImage], Restorations]
"""An image to its restorations, 8-bit `[H, W, 3]`; the position in the list is the index."""


class Models:
    """The saved models of this process, each loaded once."""

    def __init__(self) -> None:
        self._loaded: dict[str, Backbone] = {}

    def __call__(self, saved: SavedModel) -> Backbone:
        """The loaded model."""
        if saved.key not in self._loaded:
            self._loaded[saved.key] = saved.load()
        return self._loaded[saved.key]

    def keep(self, saved: SavedModel, backbone: Backbone) -> None:
        """`backbone` is what `saved` would load."""
        self._loaded[saved.key] = backbone

    def digests(self, saved: SavedModel, source: Source) -> tuple[str, str]:
        """`digest_of(source)` and `sampler.digest`; the model is loaded only where its files do not tell."""
        if isinstance(source, str):
            return self._of_branch(saved, source)
        return source.digest(_Branches(self, saved)), self._of_branch(saved, "reference")[1]

    def _of_branch(self, saved: SavedModel, branch: Branch) -> tuple[str, str]:
        known = None if saved.key in self._loaded else saved.digests(branch)
        if known is not None:
            return known
        backbone = self(saved)
        return backbone.digest(branch), backbone.sampler.digest


@dataclass(frozen=True)
class _Branches:
    """Digests of a saved model's branches."""

    models: Models
    saved: SavedModel

    def digest(self, branch: Branch) -> str:
        return self.models.digests(self.saved, branch)[0]


@dataclass(frozen=True)
class Restorer:
    """Makes the restorations of an image.

    Attributes:
        name: as in reports/evaluation.parquet.
        digest: sha256 of all that determines the restorations of an image: weights, sampler, number of seeds, code.
        weights_digest: sha256 of the weights alone.
        load: what it takes to restore, in the process of the given models.
        apart: whether `load` can be sent to another process.
    """

    name: str
    digest: str
    weights_digest: str
    load: Callable[[Models], Restore]
    apart: bool = True


@dataclass(frozen=True)
class Sampling:
    """`seeds` samples an image, `batch` a network call, which does not change them."""

    seeds: int
    batch: int
    colour_fix: ColourFix


def saved_restorer(name: str, saved: SavedModel, source: Source, sampling: Sampling, models: Models) -> Restorer:
    """Samples from one branch of a saved model, or a mixture of both, in whatever process.

    The noise of sample i is a function of (lr_id, i) alone, the same for every model, in another name space than that
    of training candidates: a model cannot be judged on a noise it was trained with.
    """
    weights, sampler = models.digests(saved, source)
    return Restorer(name, _digest(weights, sampler, sampling), weights, _OfSaved(saved, source, sampling))


def model_restorer(
    name: str, backbone: Backbone, source: Source, sampling: Sampling, sampler: Sampler[Any] | None = None
) -> Restorer:
    """The same from a loaded model, in this process alone: from a branch or a mixture of both.

    `sampler` None is the backbone's own.
    """
    used = sampler or backbone.sampler
    weights = digest_of(backbone, source)
    digest = _digest(weights, used.digest, sampling)
    return Restorer(name, digest, weights, lambda models: _OfModel(backbone, source, sampling, used), apart=False)


def _digest(weights: str, sampler: str, sampling: Sampling) -> str:
    return digests.of_json([CODE_VERSION, weights, sampler, sampling.colour_fix, sampling.seeds])


@dataclass(frozen=True)
class _OfSaved:
    saved: SavedModel
    source: Source
    sampling: Sampling

    def __call__(self, models: Models) -> Restore:
        backbone = models(self.saved)
        return _OfModel(backbone, self.source, self.sampling, backbone.sampler)


@dataclass(frozen=True)
class _OfModel:
    backbone: Backbone
    source: Source
    sampling: Sampling
    sampler: Sampler[Any]

    def __call__(self, image: EvaluationImage) -> Restorations:
        draws = [partial(candidate_noise, f"evaluate:{image.lr_id}", index) for index in range(self.sampling.seeds)]
        parts = restore(
            self.backbone,
            to_tensor(image.lr),
            (image.prompt,),
            draws,
            self.sampling.colour_fix,
            self.source,
            sampler=self.sampler,
            batch=self.sampling.batch,
        )
        return [picture for part in parts for picture in to_8bit(part.images)]
