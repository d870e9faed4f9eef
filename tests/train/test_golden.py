"""Trainings as they were before the trainer took batches: golden.json was written by the code of that time.

Machines differ in the last bits; on one machine the weights were the same to the bit.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.made import tiny_model
from tests.train.rig import trainer, write_project

GOLDEN: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "golden.json").read_text())


@pytest.mark.parametrize("case", GOLDEN)
def test_the_same_training(case: str, tmp_path: Path) -> None:
    write_project(tmp_path)
    chosen = trainer(tmp_path, **GOLDEN[case]["train"])
    if case == "winners_only":
        groups = chosen.batches.groups
        groups |= {lr_id: replace(group, loser=(-1,) * len(group.loser)) for lr_id, group in groups.items()}
    state = chosen.run()
    columns = GOLDEN[case]["columns"]
    for row, values in zip(state.log, GOLDEN[case]["log"], strict=True):
        assert list(row) == [*columns, "images_per_s"]
        expected = [
            math.nan if value is None else value for value in values
        ]  # JSON has no NaN: losers that are not there
        assert [row[name] for name in columns] == pytest.approx(expected, rel=2e-3, abs=1e-6, nan_ok=True)
    start = tiny_model().policy.state_dict()
    moved = torch.cat([(tensor - start[name]).double().flatten() for name, tensor in state.policy.items()])
    assert float(moved.norm()) == pytest.approx(GOLDEN[case]["moved"], rel=1e-3)
