import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.errors import BadInput
from components.prompts.manifest import read_prompts
from tests.made import REPOSITORY

KNOWN = {"1.png", "sub/2.jpg"}


def test_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('author,tags,file\nx,"cat, asleep",1.png\ny,,sub/2.jpg\n', encoding="utf-8")
    table = pa.table({"file": ["1.png", "sub/2.jpg"], "tags": ["cat, asleep", None]})
    pq.write_table(table, tmp_path / "m.parquet")
    expected = {"1.png": "cat, asleep", "sub/2.jpg": ""}
    assert read_prompts(tmp_path / "m.csv", "tags", KNOWN) == expected
    assert read_prompts(tmp_path / "m.parquet", "tags", KNOWN) == expected


def test_the_documented_table_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```csv\n(.*?)```", (REPOSITORY / "docs/prompts.md").read_text(), re.DOTALL)
    (tmp_path / "manifest.csv").write_text(example, encoding="utf-8")
    prompts = read_prompts(tmp_path / "manifest.csv", "tags", {"lake.jpg", "street/corner.png"})
    assert prompts["lake.jpg"] == "lake, mountain, water, sky, tree"


@pytest.mark.parametrize(
    ("content", "message", "column"),
    [
        (
            "file,prompt\n1.png,x\ngone.png,y\n",
            r"m\.csv line 3: no photo gone\.png; correct the name or remove it",
            "prompt",
        ),
        ("file,prompt\n1.png,x\n1.png,y\n", r"m\.csv line 3: 1\.png has a prompt already; remove one", "prompt"),
        ("file,tags\n1.png,x\n", r"has no column prompt \(it has file, tags\).* set prepare\.prompt\.column", "tags"),
        ("name,tags\n1.png,x\n", r"has no column file and no column prompt", "prompt"),
        (None, r"m\.csv, which does not exist; put it beside the photos", "prompt"),
    ],
)
def test_a_table_that_does_not_fit_is_named(tmp_path: Path, content: str | None, message: str, column: str) -> None:
    if content is not None:
        (tmp_path / "m.csv").write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=message):
        read_prompts(tmp_path / "m.csv", "prompt", KNOWN)
    if column == "prompt":
        (tmp_path / "m.csv").write_text("file,prompt\n1.png,x\n")
    assert read_prompts(tmp_path / "m.csv", column, KNOWN)["1.png"] == "x"


@pytest.mark.parametrize(("name", "message"), [("m.csv", "no CSV in UTF-8"), ("m.parquet", "cannot be read as parq")])
def test_a_damaged_table_is_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe\x00file")
    with pytest.raises(BadInput, match=message):
        read_prompts(tmp_path / name, "prompt", KNOWN)
