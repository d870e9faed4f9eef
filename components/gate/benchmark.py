"""The frozen benchmark set: what champion and challenger are compared on, and proof that it is still the same.

A set is a folder data/benchmark/v<number>-<digest> with its own copy of the images of the test split, laid out as a
dataset of one split, so that a dataset that grows or is split again does not change it, and manifest.json.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifacts import paths, tables
from components.artifacts.shards import encode_png, write_shard
from components.errors import BadInput
from components.gate.gate import Benchmark, BenchmarkImage
from components.judge.images import EvaluationSet
from components.metrics.table import LR_CONSISTENCY
from components.rewards.normaliser import FixedNormaliser
from components.settings import Settings
from components.storage import digests
from components.storage.publish import atomic_folder, write_json

SPLIT, SHARD = "test", "00000.tar"
FIDELITY = ("psnr", "ssim", LR_CONSISTENCY)
"""Measured on every set, whether or not the settings score them; and what the gate asks for beside them."""
_NAME = re.compile(r"v(\d+)-([0-9a-f]{12})")


@dataclass(frozen=True)
class FrozenSet:
    """A set as it is on disk now.

    Attributes:
        name: `v<number>-<first 12 hex digits of the digest>`.
        pinned: digest when it was frozen.
        found: digest of what is there now; equal to `pinned` unless somebody changed it.
        images: the images, decoded one at a time.
        fr, nr, held_out: metric names by their role.
        metrics: metric digests by name when it was frozen.
        seeds: restorations an image.
        normaliser: of the reward, fitted on the base model's restorations.
    """

    name: str
    pinned: str
    found: str
    images: EvaluationSet
    fr: tuple[str, ...]
    nr: tuple[str, ...]
    held_out: tuple[str, ...]
    metrics: dict[str, str]
    seeds: int
    normaliser: FixedNormaliser

    def expected(self) -> Benchmark:
        """What the gate expects of measurements on this set."""
        with_hr = self.images.with_hr
        images = {lr_id: BenchmarkImage(photo, lr_id in with_hr) for lr_id, photo in self.images.photos.items()}
        return Benchmark(self.pinned, images, self.seeds, self.metrics, self.held_out)


def measured_metrics(settings: Settings) -> list[str]:
    """Names of the metrics that a set is frozen with."""
    names = settings.score.all_metrics
    return list(dict.fromkeys([*names, *FIDELITY, *settings.gate.fidelity]))


def freeze(
    settings: Settings,
    root: Path,
    metrics: dict[str, str],
    fit: Callable[[EvaluationSet], FixedNormaliser],
) -> FrozenSet:
    """Copy the test split into a new set and pin it.

    Args:
        metrics: digests of `measured_metrics` by name.
        fit: the normaliser of the base model's restorations of the images.

    Raises:
        BadInput: the dataset is missing or its test split is empty.
    """
    chosen = EvaluationSet(root, SPLIT)
    known = [int(match[1]) for match in map(_NAME.fullmatch, names(root)) if match]
    content = {
        "images": _fingerprints(chosen),
        "score": {"fr": settings.score.fr, "nr": settings.score.nr, "held_out": settings.score.held_out},
        "metrics": metrics,
        "seeds": settings.gate.seeds,
        "normaliser": {name: list(bounds) for name, bounds in fit(chosen).bounds.items()},
    }
    digest = digests.of_json(content)
    name = f"v{max(known, default=0) + 1}-{digest[:12]}"
    with atomic_folder(root / paths.BENCHMARKS / name) as folder:
        rows = tables.read_rows(root / paths.DATASET_ROWS, tables.DATASET)
        kept = [row | {"shard": SHARD} for row in rows if row["split"] == SPLIT]
        tables.write_rows(folder / paths.DATASET_ROWS, tables.DATASET, kept)
        members = []
        for image in chosen:
            members.append((f"{image.lr_id}.lr.png", encode_png(image.lr)))
            if image.hr is not None:
                members.append((f"{image.lr_id}.hr.png", encode_png(image.hr)))
        write_shard(folder / paths.DATASET / SHARD, members)
        write_json(folder / "manifest.json", content | {"digest": digest})
    return load(root, name)


def names(root: Path) -> list[str]:
    """Names of the sets of the project, oldest first."""
    found = [path.name for path in (root / paths.BENCHMARKS).glob("v*-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda name: int(name[1:].split("-", maxsplit=1)[0]))


def load(root: Path, name: str) -> FrozenSet:
    """Read a set and take the digest of every image and number in it again.

    Raises:
        BadInput: it is missing or damaged. A set that can be read but differs from what was frozen is no error here:
            `found` differs, and the gate says no.
    """
    folder = root / paths.BENCHMARKS / name
    match = _NAME.fullmatch(name)
    if match is None or not folder.is_dir():
        have = ", ".join(names(root)) or "none"
        raise BadInput(
            f"there is no benchmark set {name} in {root / paths.BENCHMARKS} ({have}); set gate.benchmark to one of them"
        )
    path = folder / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        pinned = str(manifest.pop("digest"))
        score = manifest["score"]
        bounds = {metric: (float(low), float(high)) for metric, (low, high) in manifest["normaliser"].items()}
        fr, nr, held_out = (tuple(map(str, score[role])) for role in ("fr", "nr", "held_out"))
        metrics = {str(metric): str(digest) for metric, digest in manifest["metrics"].items()}
        seeds = int(manifest["seeds"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} cannot be read ({error}); restore the folder, or freeze a new set") from error
    if not pinned.startswith(match[2]):
        raise BadInput(f"{path} is of the set {pinned[:12]}, its folder says {match[2]}; restore the folder")
    images = EvaluationSet(folder, SPLIT)
    # Of what is there, not of what the manifest claims: a replaced picture must show.
    found = digests.of_json(manifest | {"images": _fingerprints(images)})
    return FrozenSet(name, pinned, found, images, fr, nr, held_out, metrics, seeds, FixedNormaliser(bounds))


def _fingerprints(images: EvaluationSet) -> list[list[str]]:
    """Pixel digests of LR and HR, photo and prompt of every image."""
    return [
        [
            digests.of_pixels(image.lr),
            "" if image.hr is None else digests.of_pixels(image.hr),
            image.photo,
            image.prompt,
        ]
        for image in images
    ]
