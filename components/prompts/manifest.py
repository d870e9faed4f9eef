"""Prompts of photos from a table beside them: CSV or parquet, keyed by the photo's file name."""

import csv
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.errors import BadInput

KEY = "file"


def read_prompts(path: Path, column: str, known: Collection[str]) -> dict[str, str]:
    """Texts of `column` by the file names of column `file`; an empty cell is the empty prompt.

    Raises:
        BadInput: the table is missing or damaged, lacks a column, or names a photo that is not in `known`.
    """
    if not path.is_file():
        raise BadInput(
            f"prepare.prompt takes prompts from {path}, which does not exist; put it beside the photos (columns "
            f"{KEY} and {column}), or set prepare.prompt.kind to fixed"
        )
    rows = _parquet(path, column) if path.suffix == ".parquet" else _csv(path, column)
    prompts = {}
    for place, name, prompt in rows:
        if name not in known:
            raise BadInput(f"{path} {place}: no photo {name}; correct the name or remove it")
        if name in prompts:
            raise BadInput(f"{path} {place}: {name} has a prompt already; remove one")
        prompts[name] = prompt
    return prompts


def _csv(path: Path, column: str) -> list[tuple[str, str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            _check(path, reader.fieldnames or [], column)
            return [(f"line {reader.line_num}", row[KEY] or "", row[column] or "") for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} is no CSV in UTF-8 ({error}); export it again") from error


def _parquet(path: Path, column: str) -> list[tuple[str, str, str]]:
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{path} cannot be read as parquet ({error}); export it again") from error
    _check(path, table.schema.names, column)
    rows = zip(table.column(KEY).to_pylist(), table.column(column).to_pylist(), strict=True)
    return [(f"row {number}", str(name), "" if text is None else str(text)) for number, (name, text) in enumerate(rows)]


def _check(path: Path, columns: Collection[str], wanted: str) -> None:
    missing = [name for name in (KEY, wanted) if name not in columns]
    if missing:
        raise BadInput(
            f"{path} has no column {' and no column '.join(missing)} (it has {', '.join(columns)}): name the photo in "
            f"{KEY}, and set prepare.prompt.column to the column of the prompts"
        )
