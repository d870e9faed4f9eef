"""The real LR/HR pairs of `prepare.pairs`: matched by name, checked, and cropped together.

What is no pair goes to quarantine with its reason: a file without a partner, one that cannot be read, a pair of another
scale, and one whose pictures do not lie on each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path

from components.artifacts import tables
from components.errors import BadInput
from components.photos.reader import Crop, PhotoReader
from components.photos.unusable import Reason, UnusablePhotoError, printable
from components.prepare.aligned import LOOK, Luma, Size, check_aligned, common, scale_of
from components.prepare.matching import Match, in_one_folder, in_two_folders
from components.prepare.sources import Photo, RealLR, Seen, Source, named_photos, prompts_of, set_aside
from components.progress import progress
from components.settings import PairFolders, PrepareSettings
from components.storage import digests

_DIGEST = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class _Side:
    """One picture of a pair: sha256 of its file, digest of its pixels, size, and luma at the LR's size."""

    file: str
    pixels: str
    size: Size
    luma: Luma


@dataclass(frozen=True)
class _Good:
    """A pair that can be used."""

    lr: _Side
    hr: _Side
    within: Size


@dataclass(frozen=True)
class _Bad:
    """A pair that cannot: the file to name, and why; its scale, where that is the reason."""

    name: str
    problem: UnusablePhotoError
    scale: int = 0


def usable_pairs(
    root: Path, prepare: PrepareSettings, reader: PhotoReader, quarantine: list[tables.Row], seen: Seen, seen_lr: Seen
) -> Iterator[Source]:
    """The usable pairs of all folders; what is none goes to `quarantine`.

    Of equal LR images the first is kept. Pairs of one HR, and parts of one photo, share the digest of their scene.

    Args:
        reader: one that knows LOOK.
        seen: HR photos that are used; read, and added to.
        seen_lr: the same of LR images.

    Raises:
        BadInput: a folder is missing or empty, nothing in it pairs, or all its pairs are of another scale.
    """
    for number, folders in enumerate(prepare.pairs):
        setting = f"pairs[{number}]"
        matches, names, aside = _matched(root, setting, folders)
        quarantine += aside
        prompt_of = prompts_of(root / folders.lr, names, prepare.prompt)
        results = progress(
            reader.each(matches, partial(_judged, prepare, reader)),
            desc=f"check {folders.lr}",
            unit="pair",
            total=len(matches),
        )
        scenes: dict[str, str] = {}
        bad: list[_Bad] = []
        for match, outcome in results:
            if isinstance(outcome, UnusablePhotoError):  # never: `_judged` says which file it is
                raise outcome
            if isinstance(outcome, _Bad):
                bad.append(outcome)
                continue
            if outcome.lr.pixels in seen_lr:
                same = f"same pixels as {seen_lr[outcome.lr.pixels][0]}"
                bad.append(_Bad(match.lr.name, UnusablePhotoError(Reason.DUPLICATE, same)))
                continue
            known = seen.get(outcome.hr.pixels)
            digest = scenes.setdefault(match.scene, known[1] if known else outcome.hr.file)
            if known and known[1] != digest:  # of two scenes, which may be in two splits
                same = f"same pixels as {known[0]}, and other parts of {match.scene} are not of its photo"
                bad.append(_Bad(match.hr.name, UnusablePhotoError(Reason.DUPLICATE, same)))
                continue
            seen.setdefault(outcome.hr.pixels, (match.hr.name, digest))
            seen_lr[outcome.lr.pixels] = (match.lr.name, digest)
            lr = RealLR(match.lr, outcome.lr.file, outcome.hr.file, outcome.within)
            yield Source(match.hr, digest, prompt_of(match.lr.name), has_hr=True, lr=lr)
        if not scenes:
            _refuse_another_scale(setting, folders, prepare.scale, bad)
        quarantine += [set_aside(one.name, one.problem) for one in bad]


def cut_together(source: Source, lr: RealLR, prepare: PrepareSettings, reader: PhotoReader) -> list[tuple[Crop, Crop]]:
    """Crops of the LR, chosen by its content, and of the HR at the same places.

    Raises:
        BadInput: a file changed meanwhile.
        UnusablePhotoError: a file cannot be read any more.
    """
    scale, side = prepare.scale, prepare.crop // prepare.scale
    low = reader.crops(lr.photo.read_again(prepare.max_bytes, lr.digest), side, prepare.crops_per_photo, lr.within)
    corners = [(x * scale, y * scale) for x, y, _ in low]
    high = reader.cut(source.photo.read_again(prepare.max_bytes, lr.hr_digest), corners, prepare.crop)
    return list(zip(low, high, strict=True))


def _matched(root: Path, setting: str, folders: PairFolders) -> tuple[list[Match[Photo]], set[str], list[tables.Row]]:
    """Pairs by name, the names of all that is in the LR folder, and quarantine's rows of all that is in no pair.

    Raises:
        BadInput: a folder is missing or empty, or there is no pair.
    """
    name_of = attrgetter("name")
    lrs, aside = named_photos(root / folders.lr, f"prepare.{setting}.lr")
    if (root / folders.lr).resolve() == (root / folders.hr).resolve():
        matches, loose = in_one_folder(lrs, name_of)
    else:
        hrs, more = named_photos(root / folders.hr, f"prepare.{setting}.hr")
        aside += more
        matches, loose = in_two_folders(lrs, hrs, name_of)
    if not matches:
        example = f": {printable(loose[0][0].name)}: {loose[0][1]}" if loose else ""
        raise BadInput(
            f"prepare.{setting}: no file of {folders.lr} and {folders.hr} makes a pair{example}; name the folders of "
            "LR and HR whose files are named alike, but for marks such as _LR4 and _HR, or _x1 and _x4"
        )
    aside += [set_aside(item.name, UnusablePhotoError(Reason.UNPAIRED, why)) for item, why in loose]
    return matches, {photo.name for photo in lrs}, aside


def _judged(prepare: PrepareSettings, reader: PhotoReader, match: Match[Photo]) -> _Good | _Bad:
    scale = prepare.scale
    name = match.lr.name
    try:
        lr = _looked(reader, match.lr, prepare.max_bytes, 1)
        name = match.hr.name
        hr = _looked(reader, match.hr, prepare.max_bytes, scale)
    except UnusablePhotoError as problem:
        return _Bad(name, problem)
    found = scale_of(lr.size, hr.size)
    if found != scale:
        times = "no whole number of times" if found is None else f"{found} times"
        detail = f"{_px(hr.size)} are {times} the {_px(lr.size)} of {match.lr.name}, and prepare.scale is {scale}"
        return _Bad(match.hr.name, UnusablePhotoError(Reason.MISALIGNED, detail), found or 0)
    within = rows, columns = common(lr.size, hr.size, scale)
    try:
        if min(within) * scale < max(prepare.crop, prepare.min_side):
            detail = f"LR and HR share {_px(within)} of the LR, less than prepare.crop or prepare.min_side asks for"
            raise UnusablePhotoError(Reason.TOO_SMALL, detail)
        check_aligned(lr.luma[:rows, :columns], hr.luma[:rows, :columns])
    except UnusablePhotoError as problem:
        return _Bad(match.lr.name, problem)
    return _Good(lr, hr, within)


def _looked(reader: PhotoReader, photo: Photo, max_bytes: int, factor: int) -> _Side:
    """Raises UnusablePhotoError as `PhotoReader.call`, or if what its decoder says cannot be."""
    data = photo.read(max_bytes)
    answer = reader.call(LOOK, data, photo.name, 1, factor=factor)
    try:
        pixels = str(answer.values["digest"])
        height, width = (int(value) for value in answer.values["size"])
    except (KeyError, TypeError, ValueError, OverflowError):
        pixels, height, width = "", 0, 0
    if not _DIGEST.fullmatch(pixels) or min(height, width) < 1 or height * width > reader.limits.max_pixels:
        raise UnusablePhotoError(Reason.HOSTILE, "its decoder gave no picture")
    if answer.pixels.shape != (height // factor, width // factor):
        raise UnusablePhotoError(Reason.HOSTILE, "its decoder gave another picture than it was asked for")
    return _Side(digests.of_bytes(data), pixels, (height, width), answer.pixels)


def _refuse_another_scale(setting: str, folders: PairFolders, scale: int, bad: list[_Bad]) -> None:
    """Raises BadInput if every pair is of one scale, which is not the settings': then these are wrong, not a file."""
    scales = {one.scale for one in bad}
    if len(scales) != 1 or 0 in scales:
        return
    found = scales.pop()
    enlarged = "their LR images were enlarged to the HR's size (take version 3 of RealSR), so " if found == 1 else ""
    raise BadInput(
        f"prepare.{setting}: all {len(bad)} pairs of {folders.lr} and {folders.hr} are of scale {found}, prepare.scale "
        f"is {scale} ({printable(bad[0].name)}: {bad[0].problem.detail}): {enlarged}name folders of scale {scale}"
        + (f", or set prepare.scale to {found}" if found > 1 else "")
    )


def _px(size: Size) -> str:
    return f"{size[1]} x {size[0]} px"
