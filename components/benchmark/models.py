"""What is compared: the project's models, registered ones, peers, and other people's folders of results."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from components.artifacts import paths
from components.backbones.base import Source
from components.backbones.loading import SavedModel
from components.benchmark.dataset import Prepared
from components.errors import BadInput
from components.evaluate.peers import peer_restorer
from components.judge.images import EvaluationImage
from components.judge.restorers import Models, Restorations, Restore, Restorer, Sampling, saved_restorer
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.photos.unusable import UnusablePhotoError, printable
from components.prepare.matching import Name
from components.prepare.sources import Photo, named_photos
from components.registry.models import checked_package
from components.runtime.process import resolve_device
from components.settings import Settings, stored_backbone
from components.storage import digests

BASE, ALIGNED, REGISTERED = "base", "aligned", "models:/"


@dataclass(frozen=True)
class Named:
    """`NAME=WHAT` as it was typed; `what` alone is its own name."""

    name: str
    what: str

    @classmethod
    def parse(cls, text: str, option: str) -> Named:
        """Raises BadInput if a side is empty."""
        name, equals, what = text.partition("=")
        found = cls(name, what) if equals else cls(text, text)
        if not found.name or not found.what or ("/" in found.name and equals):
            raise BadInput(f"{option} {text}: write NAME=WHAT, with a name without a slash")
        return found


def model_of(settings: Settings, root: Path, named: Named, seeds: int, models: Models) -> tuple[Restorer, SavedModel]:
    """The restorer of `base`, `aligned`, a folder of weights, or `models:/name@alias`; and what it loads.

    Raises:
        BadInput: there is no such model, or it is of another scale than the settings.
    """
    device = str(resolve_device(settings.run.device))
    located = settings.backbone.located(root)
    source: Source = "policy"
    if named.what == BASE:
        saved, source = SavedModel(located, device), "reference"
    elif named.what.startswith(REGISTERED):
        saved = _registered(settings, root, named.what, device, models)
    else:
        folder = root / paths.BEST if named.what == ALIGNED else Path(named.what)
        if not folder.is_dir():
            way = "run train first" if named.what == ALIGNED else "name base, aligned, models:/NAME@ALIAS or a folder"
            raise BadInput(f"--model {named.what}: {folder} does not exist; {way}")
        saved = SavedModel(located, device, folder)
    scale = saved.backbone.stored_scale()
    if scale not in (None, settings.prepare.scale):
        raise BadInput(f"--model {named.what} enlarges {scale} times, and prepare.scale is {settings.prepare.scale}")
    sampling = Sampling(seeds, settings.generate.batch, saved.backbone.colour_fix)
    return saved_restorer(named.name, saved, source, sampling, models), saved


def _registered(settings: Settings, root: Path, uri: str, device: str, models: Models) -> SavedModel:
    """A registered version, sampled as it was registered, after its signature and digests have been checked."""
    _, package = checked_package(settings, root, uri)
    try:
        backbone = stored_backbone(package.config["backbone"] | {"path": package.backbone})
    except (ValidationError, KeyError, TypeError) as error:
        raise BadInput(f"--model {uri}: its settings cannot be read: register the model again") from error
    saved = SavedModel(backbone, device)
    recorded = package.config.get("digest")
    if recorded and models.digests(saved, "policy")[0] != recorded:
        raise BadInput(
            f"--model {uri}: the weights are not those that were registered: backbone.base is another model here, or "
            "was changed; name the one that it was trained on"
        )
    return saved


def peer_of(settings: Settings, name: str) -> Restorer:
    """A peer, see `evaluate.peers`."""
    return peer_restorer(name, settings.prepare.scale, resolve_device(settings.run.device))


def results_of(settings: Settings, named: Named, images: Prepared) -> Restorer:
    """Restorations that others made, from a folder of theirs: a file an image, named as the LR or the HR is.

    Of several files of one image, such as those in folders `seed0`, `seed1` …, each is a sample, in the order of their
    paths. Every image must have as many.

    Raises:
        BadInput: the folder is missing, an image has no result, or the numbers differ.
    """
    folder = Path(named.what)
    found, _ = named_photos(folder, f"results of {named.name}")
    by_key: defaultdict[str, list[Photo]] = defaultdict(list)
    for photo in found:
        by_key[Name.of(photo.name.rsplit("/", 1)[-1]).key].append(photo)
    of_image = {lr_id: by_key.get(name.rsplit("/", 1)[-1], []) for lr_id, name in images.names.items()}
    lacking = sorted(images.names[lr_id] for lr_id, photos in of_image.items() if not photos)
    if lacking:
        raise BadInput(
            f"--results {named.name}: {folder} lacks {len(lacking)} of {len(of_image)} images, first {lacking[0]}: "
            "name each file as the set names its LR"
        )
    counts = sorted({len(photos) for photos in of_image.values()})
    if len(counts) > 1:
        raise BadInput(f"--results {named.name}: {folder} has {counts[0]} to {counts[-1]} files an image: give as many")
    limits = Limits(settings.prepare.max_pixels, settings.prepare.max_bytes, settings.prepare.seconds_a_photo)
    contents = {
        lr_id: [digests.of_bytes(photo.read(limits.max_bytes)) for photo in photos]
        for lr_id, photos in of_image.items()
    }
    digest = digests.of_json(["results", contents])
    load = _Results(of_image, limits, settings.prepare.scale, named.name)
    return Restorer(named.name, digest, digest, load, apart=False)


@dataclass(frozen=True)
class _Results:
    files: dict[str, list[Photo]]
    limits: Limits
    scale: int
    name: str

    def __call__(self, models: Models) -> Restore:
        return self._read

    def _read(self, image: EvaluationImage) -> Restorations:
        wanted = tuple(side * self.scale for side in image.lr.shape[:2])
        pictures = []
        with PhotoReader(self.limits, 1) as reader:
            for photo in self.files[image.lr_id]:
                try:
                    pixels = reader.pixels(photo.read(self.limits.max_bytes), photo.name)
                except UnusablePhotoError as problem:
                    raise BadInput(
                        f"--results {self.name}: {printable(photo.name)} cannot be used: {problem}"
                    ) from problem
                if pixels.shape[:2] != wanted:
                    raise BadInput(
                        f"--results {self.name}: {printable(photo.name)} is {pixels.shape[1]} x {pixels.shape[0]} px, "
                        f"and the protocol asks for {wanted[1]} x {wanted[0]} px: give results of the same --protocol"
                    )
                pictures.append(np.asarray(pixels))
        return pictures
