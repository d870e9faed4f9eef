"""Pairs alone, through all stages: a model, a report and a registered version come of them."""

from pathlib import Path

import pytest

from components.artifacts import tables
from components.errors import ExitCode
from tests.drawn import make_photos, run_through, write
from tests.prepare.test_pairs import write_pair


@pytest.mark.slow
def test_pairs_go_through_all_stages(tmp_path: Path) -> None:
    make_photos(tmp_path, count=0, real_lr=0)
    for seed in range(6):
        write_pair(tmp_path, f"Canon_00{seed}", seed)
    write(tmp_path, {"prepare.sources": [], "prepare.pairs": [{"lr": "lr", "hr": "hr"}]})
    assert run_through(tmp_path) == ("register", ExitCode.OK)
    rows = tables.read_rows(tmp_path / "data/dataset.parquet", tables.DATASET)
    assert {row["source_name"] for row in rows} == {f"Canon_00{seed}_HR.png" for seed in range(6)}
    assert (tmp_path / "models/aligned/best/model.safetensors").is_file()
    assert (tmp_path / "reports/index.html").is_file()
