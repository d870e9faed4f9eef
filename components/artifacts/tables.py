"""Row artifacts: parquet files with typed, documented schemas, checked on writing and on reading.

Every column is described where it is declared; the description is stored in the file's schema as well.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.artifacts.judged import is_judged
from components.errors import BadInput
from components.storage.publish import atomic_file

Row = dict[str, Any]


def _column(name: str, kind: pa.DataType, about: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"about": about})


LR_ID = _column("lr_id", pa.string(), "first 16 hex digits of the sha256 over the LR image's shape and pixels")
SPLIT = _column("split", pa.string(), "align, validation or test; all crops of one photo are in one split")
INDEX = _column("index", pa.int32(), "candidate index within its group, from 0; with lr_id it determines the noise")

DATASET = pa.schema(
    [
        LR_ID,
        SPLIT,
        _column("source", pa.string(), "sha256 of the source photo's file"),
        _column("source_name", pa.string(), "file name of the source photo, for people"),
        _column("crop_x", pa.int32(), "left edge of the HR crop in the photo, px"),
        _column("crop_y", pa.int32(), "top edge of the HR crop in the photo, px"),
        _column("width", pa.int32(), "HR width, px"),
        _column("height", pa.int32(), "HR height, px"),
        _column("lr_width", pa.int32(), "LR width, px"),
        _column("lr_height", pa.int32(), "LR height, px"),
        _column("scale", pa.int32(), "HR size over LR size"),
        _column("has_hr", pa.bool_(), "false for a real LR image without ground truth"),
        _column("shard", pa.string(), "tar shard in data/dataset that holds <lr_id>.lr.png and <lr_id>.hr.png"),
        _column("prompt", pa.string(), "text prompt; empty where the backbone takes none"),
        _column("degradation", pa.string(), "JSON of the degradation's drawn parameters; empty for real LR"),
    ]
)
QUARANTINE = pa.schema(
    [
        _column("stage", pa.string(), "stage that set the item aside"),
        _column("file", pa.string(), "file, relative to its source folder"),
        _column("reason", pa.string(), "short name of the reason, from a fixed list"),
        _column("detail", pa.string(), "what was found, for people"),
    ]
)
INCOMING = pa.schema(
    [
        _column("pixels", pa.string(), "pixel digest of the whole picture, as lr_id is for an LR"),
        _column("shard", pa.string(), "tar in data/incoming that holds <pixels>.png"),
        _column("width", pa.int32(), "px"),
        _column("height", pa.int32(), "px"),
        _column("bucket", pa.string(), "where it came from"),
        _column("key", pa.string(), "the object's key, as its sender named it"),
        _column("version", pa.string(), "the object's version; empty in a bucket without versions"),
        _column("etag", pa.string(), "the object's ETag"),
        _column("modified", pa.string(), "the object's date, by the server's clock, UTC, ISO 8601"),
    ]
)
PROMPTS = pa.schema(
    [
        LR_ID,
        _column("prompt", pa.string(), "as in data/dataset.parquet"),
        _column("kind", pa.string(), "fixed, column or captioner, as prepare.prompt.kind"),
        _column("model", pa.string(), "the captioner as the settings name it, empty without one"),
        _column("model_digest", pa.string(), "sha256 of the captioner's weights and settings, empty without one"),
    ]
)
CANDIDATES = pa.schema(
    [
        LR_ID,
        INDEX,
        _column("split", pa.string(), "split of the LR image"),
        _column("seed", pa.int64(), "seed of the candidate's noise, a function of lr_id and index alone"),
        _column("shard", pa.string(), "tar shard in data/candidates that holds <lr_id>.<index>.png"),
        _column("image_digest", pa.string(), "pixel digest of the 8-bit candidate, as lr_id is for the LR"),
        _column("model_digest", pa.string(), "sha256 of the weights that made it (the reference)"),
        _column("sampler_digest", pa.string(), "sha256 of sampler, steps, guidance and colour-fix settings"),
        _column("code_version", pa.string(), "version of the sampling code, raised when its results change"),
    ]
)
SCORE_QUARANTINE = pa.schema(
    [
        LR_ID,
        INDEX,
        _column("metric", pa.string(), "metric that gave no finite score"),
        _column("reason", pa.string(), "what happened: not_finite, or the error's name"),
        _column("detail", pa.string(), "the value or the error's text"),
    ]
)
COMPARISONS = pa.schema(
    [
        LR_ID,
        _column("judge", pa.string(), "the judge's column of data/scores.parquet"),
        _column("a", pa.int32(), "candidate index"),
        _column("b", pa.int32(), "candidate index above a; null where the judge rates one alone", nullable=True),
        _column("dimension", pa.string(), "what was asked: a dimension of score.judges, overall, or rating"),
        _column(
            "winner", pa.int32(), "a or b; -1 a tie; null where the answer names none, or rates one", nullable=True
        ),
        _column("order", pa.string(), "ab: a was shown first; ba: b was; a: alone"),
        _column("answer", pa.string(), "the model's own words"),
    ]
)
GROUPS = pa.schema(
    [
        LR_ID,
        SPLIT,
        _column("size", pa.int32(), "candidates ranked in the group, M less the quarantined"),
        _column("sigma", pa.float64(), "population standard deviation of the group's rewards"),
        _column("mu_gap", pa.float64(), "mean reward gap over the group's pairs"),
        _column("w_inter", pa.float64(), "sigma + 1 - mean sigma over the groups; 1 on average"),
        _column("candidates", pa.list_(pa.int32()), "candidate indexes that were ranked, rising"),
        _column("rewards", pa.list_(pa.float64()), "the reward of each of them, by pair.scalariser"),
    ]
)
PAIRS = pa.schema(
    [
        LR_ID,
        _column("winner", pa.int32(), "candidate index of the winner"),
        _column("loser", pa.int32(), "candidate index of the loser; -1 where the builder uses no losers"),
        _column("gap", pa.float64(), "reward of the winner minus reward of the loser"),
        _column("margin", pa.float64(), "what z has to exceed; null where nothing gives it", nullable=True),
        _column(
            "label_noise",
            pa.float64(),
            "chance that winner and loser are the wrong way round, 0 to 0.5; or null",
            nullable=True,
        ),
        _column("target", pa.float64(), "calibrated reward difference that z is fitted to; or null", nullable=True),
        _column("w_intra", pa.float64(), "abs(gap) + 1 - mu_gap; 1 on average over the group's pairs"),
        _column("w_inter", pa.float64(), "the group's weight"),
        _column(
            "weight",
            pa.float64(),
            "w_intra times w_inter, as far as params.yaml asks, to pair.weight_power, times the builder's own",
        ),
    ]
)


VOTES = pa.schema(
    [
        LR_ID,
        _column("first", pa.int32(), "candidate index of one picture"),
        _column("second", pa.int32(), "candidate index of the other"),
        _column("first_digest", pa.string(), "pixel digest of the first, as image_digest of a candidate"),
        _column("second_digest", pa.string(), "pixel digest of the second"),
        _column("first_preferred", pa.float64(), "1 where the rater preferred the first, 0 the second, 0.5 neither"),
        _column("rater", pa.string(), "who; a name within the study"),
        _column("study", pa.string(), "sha256 of the study's manifest"),
    ]
)
PREFERENCE = _column("preference", pa.float64(), "with pair.dial: the share of realism in the reward that it is of")


def with_dial(schema: pa.Schema) -> pa.Schema:
    """GROUPS or PAIRS where pair.dial has places."""
    return schema.append(PREFERENCE)


def read_dialled(path: Path, schema: pa.Schema) -> list[Row]:
    """Rows of GROUPS or PAIRS; without a dial their `preference` is None.

    Raises:
        BadInput: as `read_rows`.
    """
    dialled = with_dial(schema)
    if path.is_file() and PREFERENCE.name in read_any(path)[0]:
        return read_rows(path, dialled)
    return [row | {PREFERENCE.name: None} for row in read_rows(path, schema)]


def scores_schema(metrics: Sequence[str]) -> pa.Schema:
    """Schema of data/scores.parquet for the given metric columns (raw values, not direction-aligned).

    A column is null where its metric does not apply (FR without HR) or, held out of the reward, gave no finite score.
    """
    raw = [_column(name, pa.float64(), _about(name), nullable=True) for name in metrics]
    reward = _column("reward", pa.float64(), "R in [0, 1], min-max normalised within the group")
    return pa.schema([LR_ID, INDEX, SPLIT, *raw, reward])


def _about(name: str) -> str:
    if is_judged(name):
        return "the judge's win rate in the group, 0 to 1, or its rating; see score.judges"
    return "raw metric value"


def evaluation_schema(metrics: Sequence[str]) -> pa.Schema:
    """Schema of reports/evaluation.parquet. Metrics that need HR are null for an image without one."""
    raw = [_column(name, pa.float64(), "raw metric value", nullable=True) for name in metrics]
    return pa.schema(
        [
            _column("model", pa.string(), "base, aligned, or the name of a peer"),
            LR_ID,
            INDEX,
            *raw,
            _column("reward", pa.float64(), "reward under the fixed normaliser; may leave [0, 1]"),
        ]
    )


def write_rows(path: Path, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> None:
    """Publish `rows` as parquet at `path`, atomically.

    Raises:
        BadInput: a row misses a column, has one too many, holds null where the schema forbids it, or a wrong type.
    """
    names = set(schema.names)
    listed = list(rows)
    for number, row in enumerate(listed):
        if set(row) != names:
            missing, extra = sorted(names - set(row)), sorted(set(row) - names)
            raise BadInput(f"{path}: row {number} misses columns {missing} and has unknown columns {extra}")
    whole = [field.name for field in schema if pa.types.is_integer(field.type)]
    for number, row in enumerate(listed):
        fractions = [name for name in whole if isinstance(row[name], float)]  # pyarrow would cut them off in silence
        if fractions:
            raise BadInput(f"{path}: row {number} does not fit its columns' types: {fractions} take whole numbers")
    try:
        table = pa.Table.from_pylist(listed, schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise BadInput(f"{path}: a value does not fit its column's type: {error}") from error
    _check(path, table, schema)
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_rows(path: Path, schema: pa.Schema) -> list[Row]:
    """Rows of a parquet artifact.

    Raises:
        BadInput: the file does not exist, is not parquet, or its columns are not those of `schema`.
    """
    return list(_read(path, schema).to_pylist())


def read_any(path: Path) -> tuple[list[str], list[Row]]:
    """Column names and rows of a parquet file whose schema depends on settings (scores, evaluation)."""
    table = _read(path, None)
    return list(table.schema.names), list(table.to_pylist())


def _read(path: Path, schema: pa.Schema | None) -> pa.Table:
    if not path.is_file():
        raise BadInput(f"{path} does not exist; run the stage that makes it first (`dvc repro` runs all in order)")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{path} cannot be read as parquet ({error}); remove it and run its stage again") from error
    if schema is not None:
        _check(path, table, schema)
    return table


def _check(path: Path, table: pa.Table, schema: pa.Schema) -> None:
    if not table.schema.equals(schema, check_metadata=False):
        found = {field.name: str(field.type) for field in table.schema}
        wanted = {field.name: str(field.type) for field in schema}
        differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        raise BadInput(
            f"{path}: columns {differing or 'order or nullability'} differ from the schema this version writes; "
            "run the stage that makes the file again"
        )
    for field in schema:
        if not field.nullable and table.column(field.name).null_count:
            raise BadInput(f"{path}: column {field.name} holds null, which its schema forbids")
