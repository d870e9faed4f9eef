"""Pairs of what went into the champion and what came out: `<name>.lr.png` and `<name>.sr.png`, in a folder or in S3.

The names are a convention for whoever serves the model: one prefix, the same name before the two endings.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.errors import BadInput
from components.photos.content import read_content
from components.photos.limits import Limits
from components.photos.reader import PhotoReader
from components.photos.unusable import Reason, UnusablePhotoError
from components.storage.s3 import Client, Place, connect, s3_errors, status_of

LR, SR = ".lr.png", ".sr.png"

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """One pair; where it cannot be used, `fault` says why and the pictures are empty."""

    name: str
    lr: Picture
    sr: Picture
    fault: str = ""


@dataclass(frozen=True)
class _Files:
    """A pair's contents, unread; both raise UnusablePhotoError."""

    name: str
    lr: Callable[[], bytes]
    sr: Callable[[], bytes]


class _Gone(Exception):
    """The LR image was removed while the run was looking."""


def newest_pairs(where: str, count: int, scale: int, max_pixels: int) -> Iterator[Pair]:
    """The newest pairs by the LR's date, a few at a time.

    Raises:
        BadInput: there is no such folder, or S3 refuses.
        ResumeLater: S3 is away.
    """
    limits = Limits.of(max_pixels)
    if where.startswith("s3://"):
        found = _in_s3(Place.parse(where, "monitor.pairs"), count, limits.max_bytes)
    else:
        found = _in_folder(where, count, limits.max_bytes)
    with PhotoReader(limits) as reader:
        for files, pair in reader.each(found, lambda files: _pair(files, scale, reader)):
            if isinstance(pair, UnusablePhotoError):
                nothing = np.zeros((0, 0, 3), np.uint8)
                yield Pair(files.name, nothing, nothing, str(pair))
            elif pair is not None:
                yield pair


def _in_folder(where: str, count: int, max_bytes: int) -> list[_Files]:
    folder = Path(where)
    if not where or not folder.is_dir():
        raise BadInput(f"monitor.pairs {where!r} is no folder here: name one, or s3://bucket/prefix/")
    dated = ((path.stat().st_mtime, path) for path in folder.rglob(f"*{LR}") if path.is_file())
    found = []
    for _, path in heapq.nlargest(count, dated):
        partner = path.with_name(f"{path.name.removesuffix(LR)}{SR}")
        found.append(
            _Files(
                path.relative_to(folder).as_posix(),
                partial(read_content, path, max_bytes),
                partial(_partner, partner, max_bytes),
            )
        )
    return found


def _partner(path: Path, max_bytes: int) -> bytes:
    if not path.is_file():
        raise UnusablePhotoError(Reason.UNREADABLE, f"no {SR} beside it")
    return read_content(path, max_bytes)


def _in_s3(place: Place, count: int, max_bytes: int) -> list[_Files]:
    with s3_errors(f"pairs in {place}"):
        client = connect()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=place.prefix)
        entries = (entry for page in pages for entry in page.get("Contents", []) if entry["Key"].endswith(LR))
        newest = heapq.nlargest(count, ((entry["LastModified"], entry["Key"]) for entry in entries))
    return [
        _Files(
            key.removeprefix(place.prefix),
            partial(_object, client, place, key, max_bytes),
            partial(_object, client, place, f"{key.removesuffix(LR)}{SR}", max_bytes),
        )
        for _, key in newest
    ]


def _object(client: Client, place: Place, key: str, max_bytes: int) -> bytes:
    from botocore.exceptions import ClientError  # noqa: PLC0415

    with s3_errors(f"pairs in {place}"):
        try:
            content: bytes = client.get_object(Bucket=place.bucket, Key=key)["Body"].read(max_bytes + 1)
        except ClientError as error:
            if status_of(error) != 404:
                raise
            if key.endswith(LR):
                raise _Gone from error
            raise UnusablePhotoError(Reason.UNREADABLE, f"no {SR} beside it") from error
    return content


def _pair(files: _Files, scale: int, reader: PhotoReader) -> Pair | None:
    """The pair; None where it was removed meanwhile.

    Raises:
        UnusablePhotoError: it cannot be scored, and why.
    """
    try:
        contents = files.lr(), files.sr()
    except _Gone:
        return None
    before, after = (reader.pixels(content, files.name) for content in contents)
    if after.shape[:2] != (before.shape[0] * scale, before.shape[1] * scale):
        sizes = f"{before.shape[1]} x {before.shape[0]} became {after.shape[1]} x {after.shape[0]} px"
        raise UnusablePhotoError(Reason.UNSUPPORTED, f"{sizes}, not {scale} times as large")
    return Pair(files.name, before, after)
