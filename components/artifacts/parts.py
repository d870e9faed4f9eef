"""Rows that several processes publish, a parquet file a part, until one joins them."""

import re
from pathlib import Path

from components.artifacts.shards import Shard
from components.errors import BadInput

_NAME = re.compile(r"\d+-of-(\d+)\.parquet")


def path(folder: Path, part: Shard) -> Path:
    """Where the rows of a part go."""
    return folder / f"{part.name}.parquet"


def complete(folder: Path, count: int | None = None) -> list[Path]:
    """Files of all parts, in their order; `count` is told by their names where it is not given.

    Raises:
        BadInput: a part is missing, or there are parts of different divisions.
    """
    there = sorted(folder.glob("*.parquet"))
    counts = {int(match[1]) for file in there if (match := _NAME.fullmatch(file.name))}
    if count is None and len(counts) != 1:
        raise BadInput(f"{folder} holds parts of {sorted(counts) or 'no'} divisions of the work; publish one, whole")
    number = count if count is not None else counts.pop()
    files = [path(folder, Shard(index, number)) for index in range(number)]
    missing = [file.name for file in files if file not in there]
    if missing:
        raise BadInput(f"{folder} lacks {len(missing)} of {number} parts, first {missing[0]}: publish it, then gather")
    return files
