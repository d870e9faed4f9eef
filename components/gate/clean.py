"""Does a model harm what needs no rescue? LR images that were only reduced, restored, against bicubic enlargement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.artifacts import paths, tables
from components.artifacts.gate_report import Check
from components.artifacts.images import to_8bit, to_tensor
from components.artifacts.shards import encode_png, write_shard
from components.backbones.upsampling import upsample
from components.judge.bootstrap import ClusterBootstrap
from components.judge.images import EvaluationImage, EvaluationSet
from components.judge.restorers import Models, Restorations, Restore, Restorer
from components.settings.gate import GateSettings
from components.storage import digests
from components.storage.publish import atomic_folder

SPLIT, SHARD = "test", "00000.tar"
CODE_VERSION = "1"

Values = Mapping[str, float]
"""Of one restoration, by metric."""


@dataclass(frozen=True)
class OnClean:
    """Measurements on clean LR images; the three lists are in the order of `photos`.

    Attributes:
        photos: each image's source photo.
        bicubic: of the enlarged images.
        champion, challenger: of one restoration an image each.
    """

    photos: Sequence[str]
    bicubic: Sequence[Values]
    champion: Sequence[Values]
    challenger: Sequence[Values]


def clean_set(images: EvaluationSet, cache: Path) -> EvaluationSet | None:
    """An HR of each photo of `images`, reduced by bicubic interpolation with antialiasing (Pillow's) and nothing else.

    One crop a photo, the first by its id: photos widen what is known, and more crops of them mostly cost time.

    Args:
        cache: the project's; the set is a folder of it, made at first use.

    Returns:
        None where no image has an HR.
    """
    chosen: dict[str, tuple[tables.Row, EvaluationImage]] = {}
    for row, image in zip(images.rows, images, strict=True):  # in the order of the ids
        if image.hr is not None:
            chosen.setdefault(image.photo, (row, image))
    if not chosen:
        return None
    pairs = list(chosen.values())
    known = [CODE_VERSION, *([image.scored_against, image.photo] for _, image in pairs)]
    folder = cache / "benchmark" / f"clean-{digests.of_json(known)[:16]}"
    if not all((folder / name).is_file() for name in (paths.DATASET_ROWS, paths.DATASET / SHARD)):
        _lay_out(folder, pairs)
    return EvaluationSet(folder, SPLIT)


def _lay_out(folder: Path, pairs: Sequence[tuple[tables.Row, EvaluationImage]]) -> None:
    rows: dict[str, tables.Row] = {}
    members = []
    for row, image in pairs:
        assert image.hr is not None
        lr = reduced(image.hr, row["lr_width"], row["lr_height"])
        lr_id = digests.of_pixels(lr)  # another LR than the set's own: the caches know images by this
        if lr_id in rows:
            continue
        rows[lr_id] = row | {"lr_id": lr_id, "split": SPLIT, "shard": SHARD, "degradation": ""}
        members += [(f"{lr_id}.lr.png", encode_png(lr)), (f"{lr_id}.hr.png", encode_png(image.hr))]
    with atomic_folder(folder) as new:
        tables.write_rows(new / paths.DATASET_ROWS, tables.DATASET, [rows[lr_id] for lr_id in sorted(rows)])
        write_shard(new / paths.DATASET / SHARD, members)


def reduced(hr: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """8-bit RGB `[H, W, 3]` to `[height, width, 3]`, bicubic with antialiasing."""
    return np.asarray(Image.fromarray(hr).resize((width, height), Image.Resampling.BICUBIC))


def bicubic_restorer(scale: int) -> Restorer:
    """Bicubic enlargement as something that restores, one picture an image."""
    digest = digests.of_json(["bicubic", CODE_VERSION, scale])
    return Restorer("bicubic", digest, digest, _Bicubic(scale))


@dataclass(frozen=True)
class _Bicubic:
    scale: int

    def __call__(self, models: Models) -> Restore:
        return self._enlarged

    def _enlarged(self, image: EvaluationImage) -> Restorations:
        lr = to_tensor(image.lr)
        return list(to_8bit(upsample(lr, self.scale, lr.shape[-2] * lr.shape[-1])))


def clean(limits: GateSettings, found: OnClean | None) -> list[Check]:
    """A row a metric of `limits.clean`: in the mean, the challenger lies at most so much below bicubic. Pure."""
    return [_row(name, drop, limits, found) for name, drop in limits.clean.items()]


def _row(name: str, drop: float, limits: GateSettings, found: OnClean | None) -> Check:
    label = f"clean {name}"
    if found is None:
        why = "was not measured: the set is not as frozen, or has no image with an HR"
        return Check(name=label, value=None, threshold=-drop, verdict="no", reason=why)
    bicubic, champion, challenger = (
        np.array([values.get(name, np.nan) for values in rows])
        for rows in (found.bicubic, found.champion, found.challenger)
    )
    if not np.isfinite(challenger - bicubic).all():
        why = "a value is missing or not finite"
        return Check(name=label, value=None, threshold=-drop, verdict="no", reason=why)
    lead = ClusterBootstrap(list(found.photos), limits.bootstrap, limits.confidence, seed=0).mean(challenger - bicubic)
    why = (
        f"on LR images that were only reduced: {challenger.mean():.4g}, bicubic enlargement {bicubic.mean():.4g}, "
        f"champion {champion.mean():.4g}; {lead.mean:+.4g} over bicubic, at least {-drop:g}; "
        f"interval {lead.low:+.4g} .. {lead.high:+.4g}"
    )
    return Check(
        name=label, value=lead.mean, threshold=-drop, verdict="yes" if lead.mean >= -drop else "no", reason=why
    )
