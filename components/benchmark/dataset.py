"""A test set as a dataset of one split, which the judge reads like any other: cropped by the protocol, in the cache.

The list of the files' digests is written when a set is first used. Later uses are held to it, so that two tables of the
same set are of the same pictures.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from components.artifacts import paths, tables
from components.artifacts.shards import encode_png, write_shard
from components.benchmark.sets import Folders, TestSet
from components.errors import BadInput
from components.judge.images import EvaluationSet
from components.photos.degradation import crop_generator, degrade
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.photos.unusable import UnusablePhotoError, printable
from components.prepare.aligned import scale_of
from components.prepare.matching import Name, in_one_folder, in_two_folders
from components.prepare.sources import Photo, named_photos
from components.progress import progress
from components.prompts.writer import Writer
from components.settings import Settings
from components.storage import digests
from components.storage.publish import atomic_folder, write_json

logger = logging.getLogger("dp2o.benchmark")

Protocol = Literal["crop", "full"]
LR_SIDE = 128
"""Of protocol `crop`, px: the middle of each LR, and the HR's at the same place (StableSR, SeeSR, OSEDiff)."""
SPLIT, SHARD = "test", "00000.tar"
CODE_VERSION = "1"

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class _Item:
    """One image of a set, unread; `lr` or `hr` is None where the set has no such side."""

    name: str
    lr: Photo | None
    hr: Photo | None


@dataclass(frozen=True)
class Prepared:
    """A set that can be measured on.

    Attributes:
        images: as the judge reads them.
        names: the LR file's name without marks, by lr_id: what other people's results are named by.
        digest: of all pictures, before cropping.
        protocol: in words.
    """

    images: EvaluationSet
    names: dict[str, str]
    digest: str
    protocol: str


def prepared(
    settings: Settings, root: Path, which: TestSet, data: Path, protocol: Protocol, writer: Writer, pinned: bool = True
) -> Prepared:
    """Read `which` below `data`, hold it to its digest list if it is `pinned`, and lay it out for the judge.

    Raises:
        BadInput: it is not there, a file of it cannot be used, or it is not what it was.
    """
    scale = settings.prepare.scale
    items = list(_items(which, data))
    limits = Limits(settings.prepare.max_pixels, settings.prepare.max_bytes, settings.prepare.seconds_a_photo)
    content = {item.name: [_digest(photo, limits) for photo in (item.lr, item.hr)] for item in items}
    if which.images is not None and len(items) != which.images:
        logger.warning("%s has %d images here, and %d by its page", which.title, len(items), which.images)
    if pinned:
        _hold_to_list(root / paths.TEST_SETS / f"{which.name}.json", content, which)
    degradation = settings.prepare.degradation.model_dump(mode="json") if not _has_lr(items) else None
    prompt = [settings.backbone.family, settings.prepare.prompt.model_dump(mode="json")]
    identity = digests.of_json([CODE_VERSION, content, protocol, scale, degradation, settings.prepare.seed, prompt])
    folder = settings.run.cache_folder(root).path / "benchmark" / f"{which.name}-{identity[:16]}"
    if not all((folder / name).is_file() for name in (paths.DATASET_ROWS, paths.DATASET / SHARD)):
        with PhotoReader(limits, settings.run.workers) as reader:
            _lay_out(folder, items, settings, protocol, reader, writer)
    images = EvaluationSet(folder, SPLIT)
    names = {str(row["lr_id"]): str(row["source_name"]) for row in images.rows}
    side = f"the middle {LR_SIDE} px of each LR, {LR_SIDE * scale} px of the HR" if protocol == "crop" else "full size"
    return Prepared(images, names, identity, f"{side}, x{scale}")


def _has_lr(items: list[_Item]) -> bool:
    return all(item.lr is not None for item in items)


def _items(which: TestSet, data: Path) -> Iterator[_Item]:
    name_of = attrgetter("name")
    for part in which.find(data):
        if not (part.lr and part.hr):
            photos, aside = named_photos(data / (part.lr or part.hr), f"{which.name}: {part.lr or part.hr}")
            _refuse(which, [f"{row['file']} ({row['detail']})" for row in aside])
            for photo in photos:
                yield _Item(_key(photo, part), photo if part.lr else None, photo if part.hr else None)
            continue
        lrs, aside = named_photos(data / part.lr, f"{which.name}: {part.lr}")
        if part.lr == part.hr:
            matches, loose = in_one_folder(lrs, name_of)
        else:
            hrs, more = named_photos(data / part.hr, f"{which.name}: {part.hr}")
            aside += more
            matches, loose = in_two_folders(lrs, hrs, name_of)
        _refuse(
            which,
            [f"{row['file']} ({row['detail']})" for row in aside] + [f"{photo.name} ({why})" for photo, why in loose],
        )
        for match in matches:
            yield _Item(_key(match.lr, part), match.lr, match.hr)


def _key(photo: Photo, part: Folders) -> str:
    return Name.of(photo.name).key


def _refuse(which: TestSet, faults: list[str]) -> None:
    """A benchmark is of all its images or of none."""
    if faults:
        raise BadInput(
            f"{which.title}: {len(faults)} files are in no pair or cannot be read, first {printable(faults[0])}: "
            "take them out, or restore the set"
        )


def _digest(photo: Photo | None, limits: Limits) -> str:
    if photo is None:
        return ""
    try:
        return digests.of_bytes(photo.read(limits.max_bytes))
    except UnusablePhotoError as problem:
        raise BadInput(f"{printable(photo.name)} cannot be read ({problem}): restore the set") from problem


def _hold_to_list(path: Path, content: dict[str, list[str]], which: TestSet) -> None:
    """Write the list at first use; later refuse a set that differs from it."""
    if not path.is_file():
        write_json(path, {"set": which.name, "files": content})
        logger.info("%s: the digests of its %d images are in %s from now on", which.title, len(content), path)
        return
    try:
        before = json.loads(path.read_text())["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is damaged ({error}): restore it with git, or remove it") from error
    if before != content:
        differing = sorted(name for name in before.keys() | content.keys() if before.get(name) != content.get(name))
        raise BadInput(
            f"{which.title} is not what it was when it was first used: {len(differing)} images differ, first "
            f"{printable(differing[0])} (list: {path}): restore the set, or remove the list to start anew"
        )


def _lay_out(
    folder: Path, items: list[_Item], settings: Settings, protocol: Protocol, reader: PhotoReader, writer: Writer
) -> None:
    rows: list[tables.Row] = []

    def members() -> Iterator[tuple[str, bytes]]:
        for item in progress(items, desc="read", unit="image", total=len(items)):
            lr, hr = _cropped(item, settings, protocol, reader)
            lr_id = digests.of_pixels(lr)
            rows.append(_row(item, lr_id, lr, hr, settings.prepare.scale, writer(lr)))
            yield f"{lr_id}.lr.png", encode_png(lr)
            if hr is not None:
                yield f"{lr_id}.hr.png", encode_png(hr)

    with atomic_folder(folder) as new:
        write_shard(new / paths.DATASET / SHARD, members())
        twice = len(rows) - len({row["lr_id"] for row in rows})
        if twice:
            raise BadInput(f"{twice} LR images of the set are there twice: take the copies out")
        tables.write_rows(new / paths.DATASET_ROWS, tables.DATASET, sorted(rows, key=lambda row: str(row["lr_id"])))


def _cropped(
    item: _Item, settings: Settings, protocol: Protocol, reader: PhotoReader
) -> tuple[Picture, Picture | None]:
    """LR and HR by the protocol."""
    prepare = settings.prepare
    scale, side = prepare.scale, LR_SIDE
    lr, hr = (None if photo is None else _pixels(reader, photo, prepare.max_bytes) for photo in (item.lr, item.hr))
    if lr is None:
        assert hr is not None  # a set has one of the sides
        rows, columns = (length // scale for length in hr.shape[:2])
    else:
        rows, columns = lr.shape[:2]
        if hr is not None:
            found = scale_of((rows, columns), (hr.shape[0], hr.shape[1]))
            if found != scale:
                sizes = f"{columns} x {rows} px beside {hr.shape[1]} x {hr.shape[0]} px"
                raise BadInput(
                    f"{printable(item.name)}: LR and HR are {sizes}, and prepare.scale is {scale}: name a set of that "
                    "scale, or set prepare.scale to the model's"
                )
            rows, columns = min(rows, hr.shape[0] // scale), min(columns, hr.shape[1] // scale)
    top, left, height, width = 0, 0, rows, columns
    if protocol == "crop" and min(rows, columns) > 0:
        height, width = min(side, rows), min(side, columns)
        top, left = (rows - height) // 2, (columns - width) // 2
    high = None if hr is None else _part(hr, top * scale, left * scale, height * scale, width * scale)
    if lr is not None:
        return _part(lr, top, left, height, width), high
    assert high is not None
    generator = crop_generator(prepare.seed, digests.of_pixels(high), left * scale, top * scale)
    return degrade(high, generator, prepare.degradation, scale)[0], high


def _part(picture: Picture, top: int, left: int, height: int, width: int) -> Picture:
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def _pixels(reader: PhotoReader, photo: Photo, max_bytes: int) -> Picture:
    try:
        return reader.pixels(photo.read(max_bytes), photo.name)
    except UnusablePhotoError as problem:
        raise BadInput(f"{printable(photo.name)} cannot be used ({problem}): restore the set") from problem


def _row(item: _Item, lr_id: str, lr: Picture, hr: Picture | None, scale: int, prompt: str) -> tables.Row:
    return {
        "lr_id": lr_id,
        "split": SPLIT,
        "source": digests.of_json(item.name),
        "source_name": printable(item.name),
        "crop_x": 0,
        "crop_y": 0,
        "width": lr.shape[1] * scale,
        "height": lr.shape[0] * scale,
        "lr_width": lr.shape[1],
        "lr_height": lr.shape[0],
        "scale": scale,
        "has_hr": hr is not None,
        "shard": SHARD,
        "prompt": prompt,
        "degradation": "",
    }
