"""Which pictures are restored, and to where: files, folders with all below them, and patterns."""

from __future__ import annotations

import glob
import os
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.errors import BadInput
from components.photos.folder import entries, is_photo
from components.photos.unusable import printable
from components.upscale.encode import SAVE_OPTIONS

NAME = "{stem}-x{scale}.png"
FIELDS = ("stem", "file", "suffix", "scale", "seed")
_PATTERN = frozenset("*?[")


@dataclass(frozen=True)
class Job:
    """A picture to restore.

    Attributes:
        source: file.
        target: file.
        base: folder with the record of what is done; `target` lies below it.
    """

    source: Path
    target: Path
    base: Path

    @property
    def name(self) -> str:
        """For people."""
        return printable(str(self.source))


@dataclass(frozen=True)
class Failure:
    """A picture that was not restored.

    Attributes:
        name: for people.
        reason: with the way out, where there is one.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Found:
    """A picture that was asked for.

    Attributes:
        path: file.
        below: relative to the folder that was named; its name, where none was.
        folder: that was named.
    """

    path: Path
    below: Path
    folder: Path | None


def is_one(photos: Sequence[Path], output: Path | None) -> bool:
    """Whether one picture was asked for by its own name, and no folder for what comes out."""
    if len(photos) != 1 or (output is not None and os.path.isdir(output)):
        return False
    (photo,) = photos
    return not os.path.isdir(photo) and (os.path.exists(photo) or not _PATTERN & set(str(photo)))


def find(photos: Sequence[Path], output: Path | None) -> tuple[list[Found], list[Failure]]:
    """Pictures of files, folders and patterns, each once, in the order of the arguments; what lies in their place.

    What lies below `output` is no input: a second run does not restore what the first one made.

    Raises:
        BadInput: a file or folder is not there, a pattern fits nothing, or nothing is a picture.
    """
    found: dict[Path, Found] = {}
    failures: list[Failure] = []
    for path in _expanded(photos):
        for item in _below(path) if os.path.isdir(path) else [Found(path, Path(path.name), None)]:
            if isinstance(item, Failure):
                failures.append(item)
            elif output is None or path == item.path or not _is_below(item.path, output):
                found.setdefault(item.path.absolute(), item)
    if not found and not failures:
        raise BadInput(f"no picture in {', '.join(map(str, photos))}: name files or folders with {_kinds()}")
    return list(found.values()), failures


def _kinds() -> str:
    return "JPEG, PNG, WebP, TIFF, HEIC, AVIF or JPEG XL pictures"


def _expanded(photos: Sequence[Path]) -> Iterator[Path]:
    for photo in photos:
        if os.path.exists(photo):  # unlike Path's, of a name that is too long as well
            yield photo
            continue
        fitting = sorted(glob.glob(str(photo), recursive=True)) if _PATTERN & set(str(photo)) else []
        if not fitting:
            raise BadInput(f"{printable(str(photo))} is not there: name {_kinds()}, folders, or a pattern in quotes")
        yield from (path for path in map(Path, fitting) if path.is_dir() or is_photo(path.name))


def _below(folder: Path) -> Iterator[Found | Failure]:
    for entry in entries(folder):
        if entry.problem is not None:
            yield Failure(printable(str(entry.path)), str(entry.problem))
        elif is_photo(entry.path.name):
            yield Found(entry.path, Path(entry.name), folder)


def _is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def check_name(template: str) -> None:
    """Raises BadInput unless `template` names a file of a format that can be written, of known fields."""
    fields = ", ".join(f"{{{field}}}" for field in FIELDS)
    try:
        used = {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}
        if not used <= set(FIELDS):
            raise ValueError
    except ValueError as error:
        raise BadInput(f"--name {template!r}: use {fields} and plain text, such as {NAME}") from error
    if not used & {"stem", "file"}:
        raise BadInput(f"--name {template!r} gives all pictures one name: use {{stem}}, or {{file}}, in it")
    if "/" in template or "\\" in template:
        raise BadInput(f"--name {template!r} is no name of a file: the folder goes to --output")
    if "suffix" not in used and Path(template).suffix.lower() not in SAVE_OPTIONS:
        raise BadInput(f"--name {template!r}: end it with one of {', '.join(SAVE_OPTIONS)}")


def plan(found: Sequence[Found], output: Path | None, template: str, scale: float, seed: int) -> list[Job]:
    """Where each restored picture goes: below `output` as it lay below its folder; else beside that folder, or itself.

    Raises:
        BadInput: two would have one name; or a name has a format that is not written.
    """
    jobs: dict[Path, Job] = {}
    for item in found:
        below = item.below.with_name(filled(template, item.path, scale, seed))
        if output is not None:
            base = output
        elif item.folder is not None:
            named = item.folder.resolve()
            base = item.folder.absolute().with_name(f"{named.name}-x{scale:g}") if named.name else named
        else:
            base = item.path.parent
        job = Job(item.path, base / below, base)
        other = jobs.setdefault(job.target.absolute(), job)
        if other is not job:
            raise BadInput(
                f"{other.name} and {job.name} would both become {printable(str(job.target))}: "
                'use --name "{file}-x{scale}.png", which has the whole name'
            )
    return list(jobs.values())


def filled(template: str, path: Path, scale: float, seed: int) -> str:
    """Name of what a photo becomes.

    Raises:
        BadInput: its format is not written.
    """
    name = template.format(stem=path.stem, file=path.name, suffix=path.suffix, scale=f"{scale:g}", seed=seed)
    if Path(name).suffix.lower() not in SAVE_OPTIONS:
        raise BadInput(
            f"{printable(name)} has no format that is written: end --name with one of {', '.join(SAVE_OPTIONS)}"
        )
    return name
