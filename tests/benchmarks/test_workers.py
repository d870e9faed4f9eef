"""The program on tiny settings: that both do the same work, and what it writes; never how fast."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch

from benchmarks.workers import groups, main
from tests.made import write_params

SIDE = 32


def test_every_group_is_another() -> None:
    found = list(islice(groups(SIDE, 4), 200))
    assert len({group.name for group in found}) == 200
    assert {group.hr.shape for group in found} == {(SIDE, SIDE, 3)}
    assert {group.lr.shape for group in found} == {(SIDE // 4, SIDE // 4, 3)}


def test_figures_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_params(
        tmp_path,
        prepare={"crop": SIDE},
        generate={"candidates": 2},
        pair={"top": 1},
        score={"fr": ["psnr"], "nr": [], "held_out": ["ssim"]},
    )
    out = tmp_path / "workers.json"
    before = torch.get_num_threads()
    try:
        sizes = "--only score --workers 2 --items 2 --rounds 1 --busy 1"
        main([*sizes.split(), "--params", str(tmp_path / "params.yaml"), "--json", str(out)])
    finally:
        torch.set_num_threads(before)
    (part,) = json.loads(out.read_text())["parts"]
    (row,) = part["comparisons"]
    assert row["ours"] > 0.0
    assert row["peer"] > 0.0
    assert row["wall"]["median"] == pytest.approx(row["ours"] / row["peer"])
    assert "1 busy beside" in capsys.readouterr().out
