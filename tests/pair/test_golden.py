"""Pairs as they were before builders took scores: golden.json was written by the code of that time."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.artifacts import tables
from components.pair.stage import run
from tests.made import write_dataset
from tests.pair.test_stage import FR, NR, drawn, settings, write_scores

GOLDEN: dict[str, dict[str, list[list[Any]]]] = json.loads((Path(__file__).parent / "golden.json").read_text())
COLUMNS = {
    "groups": ("lr_id", "split", "size", "sigma", "mu_gap", "w_inter"),
    "pairs": ("lr_id", "winner", "loser", "gap", "w_intra", "w_inter", "weight"),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_the_same_pairs_and_weights(case: str, tmp_path: Path) -> None:
    builder, _, changes = case.partition(" ")
    ids = write_dataset(tmp_path, ["align"] * 5)
    write_scores(tmp_path, {lr_id: drawn(seed, FR + NR) for seed, lr_id in enumerate(ids)}, FR + NR)
    train = {"objective": "winners_only"} if builder == "winners_only" else {}
    run(settings(tmp_path, train, builder=builder, **json.loads(changes)), tmp_path)
    for name, columns in COLUMNS.items():
        rows = tables.read_any(tmp_path / f"data/{name}.parquet")[1]
        assert [[row[column] for column in columns] for row in rows] == GOLDEN[case][name]
