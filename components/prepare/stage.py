"""Photos → data/dataset.parquet and data/dataset/*.tar; what cannot be used → data/quarantine.parquet."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.artifacts import paths, tables
from components.artifacts.shards import Shard, encode_png, write_shard
from components.errors import BadInput
from components.photos.degradation import crop_generator, degrade
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.photos.unusable import Reason, UnusablePhotoError, printable
from components.pipeline.files import untracked_folders
from components.prepare.aligned import LOOK
from components.prepare.pairs import cut_together, usable_pairs
from components.prepare.sources import Photo, Seen, Source, named_photos, prompts_of, set_aside
from components.prepare.split import split_photos
from components.progress import progress
from components.settings import PrepareSettings, Settings
from components.settings.populated import check_images
from components.storage import digests
from components.storage.publish import atomic_folder

if TYPE_CHECKING:
    from components.prompts.captioner import CaptionCache

logger = logging.getLogger("dp2o.prepare")

_Cut = tuple[int, int, NDArray[np.uint8], NDArray[np.uint8] | None]
"""Left and upper edge of a crop in its photo, its pixels, and those of its LR where that is real."""


def run(settings: Settings, root: Path, shard: Shard | None = None) -> None:
    """Publish the dataset of all photos in the four `prepare.*sources`, and of the pairs in `prepare.pairs`.

    Two runs give the same bytes. An LR image depends on its photo, its crop and `prepare.seed` alone.

    Raises:
        BadInput: a source folder is missing or holds no usable photo, a manifest is missing or does not fit, the
            captioner does not load, there are fewer photos than splits, or `--shard` was given.
    """
    if shard is not None:
        raise BadInput("prepare splits by photo over all photos and cannot run in shards: leave --shard out")
    prepare = settings.prepare
    _warn_of_untracked(settings, root)
    captions = _captions(settings, root)
    limits = Limits(prepare.max_pixels, prepare.max_bytes, prepare.seconds_a_photo)
    with PhotoReader(limits, settings.run.workers, (LOOK,) if prepare.pairs else ()) as reader:
        _publish(settings, root, reader, captions)


def _publish(settings: Settings, root: Path, reader: PhotoReader, captions: CaptionCache | None) -> None:
    prepare = settings.prepare
    quarantine: list[tables.Row] = []
    seen: Seen = {}
    seen_lr: Seen = {}
    sources = [
        *_usable(root, "sources", prepare, reader, quarantine, seen, has_hr=True),
        *usable_pairs(root, prepare, reader, quarantine, seen, seen_lr),
        *_usable(root, "lr_sources", prepare, reader, quarantine, seen_lr, has_hr=False),
    ]
    # After the others, so that a photo that is in both stays where it was: validation and test never grow or shrink.
    for_align = [
        *_usable(root, "align_sources", prepare, reader, quarantine, seen, has_hr=True),
        *_usable(root, "align_lr_sources", prepare, reader, quarantine, seen_lr, has_hr=False),
    ]
    try:
        splits = split_photos((source.digest for source in sources), prepare.split.model_dump(), prepare.seed)
    except BadInput as error:
        raise BadInput(f"{error} ({_count_reasons(quarantine)})") from error
    twice = UnusablePhotoError(Reason.DUPLICATE, "the same file is in prepare.sources or prepare.lr_sources")
    quarantine += [set_aside(source.name, twice) for source in for_align if source.digest in splits]
    sources += [source for source in for_align if source.digest not in splits]
    splits |= {source.digest: "align" for source in for_align if source.digest not in splits}
    sources.sort(key=lambda source: source.digest)

    rows: list[tables.Row] = []
    with atomic_folder(root / paths.DATASET) as folder:
        members = _members(sources, splits, prepare, reader, rows, quarantine, captions)
        for number, first in enumerate(members):
            # lazily, image by image: a shard of large images need not fit in memory
            group = chain([first], islice(members, prepare.lrs_per_shard - 1))
            name = f"{number:05d}.tar"
            write_shard(folder / name, chain.from_iterable(group))
            for row in rows[number * prepare.lrs_per_shard :]:
                row["shard"] = name
        try:
            check_images(settings, rows)
        except BadInput as error:
            raise BadInput(f"{error} ({_count_reasons(quarantine)})") from error
    rows.sort(key=lambda row: str(row["lr_id"]))
    quarantine.sort(key=lambda row: (str(row["file"]), str(row["detail"])))
    tables.write_rows(root / paths.DATASET_ROWS, tables.DATASET, rows)
    tables.write_rows(root / paths.PROMPTS, tables.PROMPTS, _prompt_rows(rows, prepare, captions))
    tables.write_rows(root / paths.QUARANTINE, tables.QUARANTINE, quarantine)
    by_split = Counter(row["split"] for row in rows)
    logger.info(
        "%d LR images of %d photos (%s); %s",
        len(rows),
        len(sources),
        ", ".join(f"{by_split[name]} {name}" for name in ("align", "validation", "test")),
        _count_reasons(quarantine),
    )


def _usable(
    root: Path,
    setting: str,
    prepare: PrepareSettings,
    reader: PhotoReader,
    quarantine: list[tables.Row],
    seen: Seen,
    *,
    has_hr: bool,
) -> Iterator[Source]:
    """The usable files of the folders that `setting` names; the others go to `quarantine`.

    Of equal pictures the first is kept; `seen` (names by pixel digest) is read and added to.
    """
    side = max(prepare.min_side, prepare.crop) if has_hr else prepare.crop // prepare.scale

    def judged(photo: Photo) -> tuple[str, str]:
        data = photo.read(prepare.max_bytes)
        return digests.of_bytes(data), reader.digest(data, photo.name, side)

    folders: list[Path] = getattr(prepare, setting)
    for folder in folders:
        found, aside = named_photos(root / folder, setting)
        quarantine += aside
        prompt_of = prompts_of(root / folder, {photo.name for photo in found}, prepare.prompt)
        results = reader.each(found, judged)
        for photo, outcome in progress(results, desc=f"check {folder}", unit="photo", total=len(found)):
            if isinstance(outcome, UnusablePhotoError):
                quarantine.append(set_aside(photo.name, outcome))
                continue
            digest, pixels = outcome
            if pixels in seen:
                problem = UnusablePhotoError(Reason.DUPLICATE, f"same pixels as {seen[pixels][0]}")
                quarantine.append(set_aside(photo.name, problem))
                continue
            seen[pixels] = (photo.name, digest)
            yield Source(photo, digest, prompt_of(photo.name), has_hr)


def _warn_of_untracked(settings: Settings, root: Path) -> None:
    """Say which folders DVC does not watch, where there is a pipeline."""
    if (root / "dvc.yaml").is_file():
        for stage, folder in untracked_folders(settings, root):
            if stage == "prepare":
                logger.warning("%s is no dependency in dvc.yaml, so that what changes in it goes unnoticed; "
                               "`dp2o run` adds it", folder)  # fmt: skip


def _captions(settings: Settings, root: Path) -> CaptionCache | None:
    """The captioner, if the settings name one."""
    prompt = settings.prepare.prompt
    if prompt.kind != "captioner" or prompt.model is None:
        return None
    # Only here: transformers takes seconds to import, and most runs need none of it.
    from components.prompts.captioner import CaptionCache, Captioner  # noqa: PLC0415
    from components.runtime.process import resolve_device  # noqa: PLC0415
    from components.storage.hub import source  # noqa: PLC0415

    device = resolve_device(settings.run.device)
    captioner = Captioner.load(source(prompt.model, root), prompt.text, prompt.max_tokens, device)
    return CaptionCache(captioner, settings.run.cache_folder(root))


def _prompt_rows(
    rows: list[tables.Row], prepare: PrepareSettings, captions: CaptionCache | None
) -> Iterator[tables.Row]:
    if captions is not None:
        logger.info("%d captions made, the others were in the cache", captions.made)
    model = str(prepare.prompt.model or "")
    digest = captions.digest if captions else ""
    for row in rows:
        yield {name: row[name] for name in ("lr_id", "prompt")} | {
            "kind": prepare.prompt.kind,
            "model": model,
            "model_digest": digest,
        }


def _members(
    sources: list[Source],
    splits: dict[str, str],
    prepare: PrepareSettings,
    reader: PhotoReader,
    rows: list[tables.Row],
    quarantine: list[tables.Row],
    captions: CaptionCache | None,
) -> Iterator[list[tuple[str, bytes]]]:
    """Tar members of each LR image, one list an LR; appends its row to `rows` just before.

    Photos are decoded again here, a few at a time, so that memory does not grow with their number.
    """
    taken: dict[str, str] = {}
    cut = reader.each(sources, partial(_crops, prepare, reader))
    for source, outcome in progress(cut, desc="prepare", unit="photo", total=len(sources)):
        if isinstance(outcome, UnusablePhotoError):
            raise BadInput(f"{printable(source.name)} could be read at first, and now cannot ({outcome}): run again")
        for x, y, crop, real_lr in outcome:
            lr, hr = crop if real_lr is None else real_lr, crop
            degradation = ""
            if source.has_hr and real_lr is None:
                rng = crop_generator(prepare.seed, source.digest, x, y)
                lr, drawn = degrade(hr, rng, prepare.degradation, prepare.scale)
                degradation = json.dumps(drawn, sort_keys=True)
            lr_id = digests.of_pixels(lr)
            if lr_id in taken:
                detail = f"LR of the crop at {x}, {y} has the same pixels as one of {taken[lr_id]}"
                quarantine.append(set_aside(source.name, UnusablePhotoError(Reason.DUPLICATE, detail)))
                continue
            taken[lr_id] = source.name
            rows.append(
                {
                    "lr_id": lr_id,
                    "split": splits[source.digest],
                    "source": source.digest,
                    "source_name": printable(source.name),
                    "crop_x": x,
                    "crop_y": y,
                    "width": lr.shape[1] * prepare.scale,
                    "height": lr.shape[0] * prepare.scale,
                    "lr_width": lr.shape[1],
                    "lr_height": lr.shape[0],
                    "scale": prepare.scale,
                    "has_hr": source.has_hr,
                    "prompt": captions(lr) if captions else source.prompt,
                    "degradation": degradation,
                }
            )
            members = [(f"{lr_id}.lr.png", encode_png(lr))]
            if source.has_hr:
                members.append((f"{lr_id}.hr.png", encode_png(hr)))
            yield members


def _crops(prepare: PrepareSettings, reader: PhotoReader, source: Source) -> list[_Cut]:
    if source.lr is not None:
        return [(x, y, hr, lr) for (_, _, lr), (x, y, hr) in cut_together(source, source.lr, prepare, reader)]
    data = source.photo.read_again(prepare.max_bytes, source.digest)
    side = prepare.crop if source.has_hr else prepare.crop // prepare.scale
    return [(x, y, crop, None) for x, y, crop in reader.crops(data, side, prepare.crops_per_photo)]


def _count_reasons(quarantine: list[tables.Row]) -> str:
    if not quarantine:
        return "nothing in quarantine"
    counts = Counter(str(row["reason"]) for row in quarantine)
    return f"{len(quarantine)} in quarantine: " + ", ".join(
        f"{count} {reason}" for reason, count in sorted(counts.items())
    )
