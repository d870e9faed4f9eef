from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.artifacts import tables
from components.errors import BadInput

PAIR = {"lr_id": "a", "winner": 1, "loser": 2, "gap": 0.5, "margin": None, "label_noise": None, "target": 0.25}
PAIR |= {"w_intra": 1.0, "w_inter": 1.0, "weight": 1.0}


def test_rows_come_back(tmp_path: Path) -> None:
    rows = [PAIR, PAIR | {"loser": -1, "gap": 0.0}]
    tables.write_rows(tmp_path / "p.parquet", tables.PAIRS, rows)
    assert tables.read_rows(tmp_path / "p.parquet", tables.PAIRS) == rows
    assert tables.read_any(tmp_path / "p.parquet") == (tables.PAIRS.names, rows)


def test_lists_come_back(tmp_path: Path) -> None:
    row = {"lr_id": "a", "split": "align", "size": 2, "sigma": 0.5, "mu_gap": 1.0, "w_inter": 1.0}
    rows = [row | {"candidates": [0, 3], "rewards": [1.0, 0.0]}]
    tables.write_rows(tmp_path / "g.parquet", tables.GROUPS, rows)
    assert tables.read_rows(tmp_path / "g.parquet", tables.GROUPS) == rows


def test_an_empty_table_keeps_its_columns(tmp_path: Path) -> None:
    tables.write_rows(tmp_path / "q.parquet", tables.QUARANTINE, [])
    assert tables.read_rows(tmp_path / "q.parquet", tables.QUARANTINE) == []


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tables.write_rows(tmp_path / f"{name}.parquet", tables.PAIRS, [PAIR] * 10)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({key: value for key, value in PAIR.items() if key != "gap"}, r"row 1 misses columns \['gap'\]"),
        (PAIR | {"colour": 1}, r"row 1 .* unknown columns \['colour'\]"),
        (PAIR | {"gap": None}, "column gap holds null"),
        (PAIR | {"gap": "large"}, "does not fit its column's type"),
        (PAIR | {"winner": 2**40}, "does not fit its column's type"),
        (PAIR | {"winner": 0.5}, r"row 1 does not fit its columns' types: \['winner'\] take whole numbers"),
    ],
)
def test_rows_that_break_the_schema_are_not_written(tmp_path: Path, row: tables.Row, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        tables.write_rows(tmp_path / "p.parquet", tables.PAIRS, [PAIR, row])
    assert list(tmp_path.iterdir()) == []


def test_only_metric_columns_may_be_null(tmp_path: Path) -> None:
    schema = tables.scores_schema(["psnr"])
    row = {"lr_id": "a", "index": 0, "split": "align", "psnr": None, "reward": 0.5}
    tables.write_rows(tmp_path / "s.parquet", schema, [row])
    assert tables.read_rows(tmp_path / "s.parquet", schema) == [row]
    with pytest.raises(BadInput, match="column reward holds null"):
        tables.write_rows(tmp_path / "s.parquet", schema, [row | {"reward": None}])


def test_reading_names_the_file_and_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    with pytest.raises(BadInput, match=r"p\.parquet does not exist; run the stage that makes it first"):
        tables.read_rows(path, tables.PAIRS)
    path.write_text("no parquet")
    with pytest.raises(BadInput, match=r"p\.parquet cannot be read as parquet .* run its stage again"):
        tables.read_rows(path, tables.PAIRS)
    pq.write_table(pa.table({"lr_id": ["a"], "winner": pa.array([1], pa.int64())}), path)
    with pytest.raises(BadInput, match=r"columns \['gap', .*'loser', .*'winner'\] differ from the schema"):
        tables.read_rows(path, tables.PAIRS)
    nullable = pa.schema([field.with_nullable(True) for field in tables.PAIRS])
    pq.write_table(pa.Table.from_pylist([PAIR | {"gap": None}], schema=nullable), path)
    with pytest.raises(BadInput, match="columns order or nullability differ"):
        tables.read_rows(path, tables.PAIRS)


def test_every_column_is_described_in_the_file_too(tmp_path: Path) -> None:
    schemas = [tables.DATASET, tables.QUARANTINE, tables.CANDIDATES, tables.SCORE_QUARANTINE, tables.GROUPS]
    schemas += [tables.COMPARISONS, tables.scores_schema(["judge_a_nr"])]
    schemas += [tables.PAIRS, tables.scores_schema(["psnr"]), tables.evaluation_schema(["psnr"])]
    assert all(len(field.metadata[b"about"]) > 10 for schema in schemas for field in schema)
    tables.write_rows(tmp_path / "p.parquet", tables.PAIRS, [PAIR])
    stored = pq.read_schema(tmp_path / "p.parquet").field("gap").metadata[b"about"]
    assert stored == tables.PAIRS.field("gap").metadata[b"about"]
