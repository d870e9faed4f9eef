"""Trainings as they were before the trainer took batches.

golden.json is in float64, of code that gave the float32 weights of that time to the bit. In float32 a loss of .005 has
no third digit: z is β/2 = 150 times a difference of errors of 25, and the loss's relative error is z's own error. In
float64 what is left are the last bits of the float32 noise, which the mean over 3,072 values makes 1e-5 of z.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.made import tiny_model
from tests.train.rig import in_double, trainer, write_project

GOLDEN: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "golden.json").read_text())


@pytest.mark.parametrize("case", GOLDEN)
def test_the_same_training(case: str, tmp_path: Path) -> None:
    write_project(tmp_path)
    chosen = trainer(tmp_path, backbone=in_double(tiny_model()), **{"beta": 300.0} | GOLDEN[case]["train"])
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
        assert [row[name] for name in columns] == pytest.approx(expected, rel=1e-3, abs=1e-6, nan_ok=True)
    start = tiny_model().policy.state_dict()
    moved = torch.cat([(tensor - start[name]).double().flatten() for name, tensor in state.policy.items()])
    assert float(moved.norm()) == pytest.approx(GOLDEN[case]["moved"], rel=1e-3)
