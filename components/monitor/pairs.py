"""Pairs of what went into the champion and what came out: `<name>.lr.png` and `<name>.sr.png`, in a folder or in S3.

The names are a convention for whoever serves the model: one prefix, the same name before the two endings.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.artifacts.s3 import Place, connect, s3_errors, status_of
from components.errors import BadInput
from components.photos.reading import read_photo
from components.photos.unusable import UnusablePhotoError

LR, SR = ".lr.png", ".sr.png"

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """One pair; where it cannot be used, `fault` says why and the pictures are empty."""

    name: str
    lr: Picture
    sr: Picture
    fault: str = ""


def newest_pairs(where: str, count: int, scale: int, max_pixels: int) -> Iterator[Pair]:
    """The newest pairs by the LR's date, one at a time.

    Raises:
        BadInput: there is no such folder, or S3 refuses.
        ResumeLater: S3 is away.
    """
    contents = (
        _in_s3(Place.parse(where, "monitor.pairs"), count) if where.startswith("s3://") else _in_folder(where, count)
    )
    for name, lr, sr in contents:
        yield _pair(name, lr, sr, scale, max_pixels)


def _in_folder(where: str, count: int) -> Iterator[tuple[str, bytes, bytes | None]]:
    folder = Path(where)
    if not where or not folder.is_dir():
        raise BadInput(f"monitor.pairs {where!r} is no folder here: name one, or s3://bucket/prefix/")
    found = heapq.nlargest(count, ((path.stat().st_mtime, path) for path in folder.rglob(f"*{LR}")))
    for _, path in found:
        partner = path.with_name(f"{path.name.removesuffix(LR)}{SR}")
        yield (
            path.relative_to(folder).as_posix(),
            path.read_bytes(),
            partner.read_bytes() if partner.is_file() else None,
        )


def _in_s3(place: Place, count: int) -> Iterator[tuple[str, bytes, bytes | None]]:
    from botocore.exceptions import ClientError  # noqa: PLC0415

    with s3_errors(f"pairs in {place}"):
        client = connect()

        def read(key: str) -> bytes | None:
            try:
                content: bytes = client.get_object(Bucket=place.bucket, Key=key)["Body"].read()
            except ClientError as error:
                if status_of(error) == 404:
                    return None
                raise
            return content

        pages = client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=place.prefix)
        entries = (entry for page in pages for entry in page.get("Contents", []) if entry["Key"].endswith(LR))
        for _, key in heapq.nlargest(count, ((entry["LastModified"], entry["Key"]) for entry in entries)):
            lr = read(key)
            if lr is not None:  # removed meanwhile
                yield key.removeprefix(place.prefix), lr, read(f"{key.removesuffix(LR)}{SR}")


def _pair(name: str, lr: bytes, sr: bytes | None, scale: int, max_pixels: int) -> Pair:
    nothing = np.zeros((0, 0, 3), np.uint8)
    if sr is None:
        return Pair(name, nothing, nothing, f"no {SR} beside it")
    try:
        before, after = read_photo(lr, 1, max_pixels), read_photo(sr, 1, max_pixels)
    except UnusablePhotoError as problem:
        return Pair(name, nothing, nothing, str(problem))
    if after.shape[:2] != (before.shape[0] * scale, before.shape[1] * scale):
        sizes = f"{before.shape[1]} x {before.shape[0]} became {after.shape[1]} x {after.shape[0]} px"
        return Pair(name, nothing, nothing, f"{sizes}, not {scale} times as large")
    return Pair(name, before, after)
