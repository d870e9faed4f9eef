"""Signal to noise: the figures on made gradients with known answers, and a run on a made project that goes on."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import signal
from benchmarks.signal import SKETCH, Drawn, compare, explained, squared_mean
from components.train.batches.pairs import PairBatches
from tests.made import write_params
from tests.train.rig import COUNT, SHORT, TOP, write_project

MEAN = np.random.default_rng(1).normal(size=SKETCH) / np.sqrt(SKETCH)  # |mu|^2 is about 1


def made(seed: int, deviation: float, rows: float, steps: int = 80) -> Drawn:
    """Gradients of mean MEAN and E|noise|^2 = deviation^2."""
    noise = np.random.default_rng(seed).normal(size=(steps, SKETCH)) * deviation / np.sqrt(SKETCH)
    return Drawn(MEAN + noise, rows)


def test_what_a_call_is_worth() -> None:
    """A scheme of a third of the noise's square at half the rows is worth six of the standard's calls."""
    found = {"group": made(2, 3.0, 8.0), "better": made(3, np.sqrt(3.0), 4.0), "same": made(4, 3.0, 8.0)}
    table = compare(found, "group")
    assert table["better"]["worth"] == pytest.approx(6.0, rel=0.02)
    assert table["better"]["low"] < 6.0 < table["better"]["high"]
    assert table["same"]["worth"] == pytest.approx(1.0, rel=0.02)
    assert table["group"]["worth"] == table["group"]["low"] == table["group"]["high"] == 1.0
    # |mu|^2 over E|noise|^2 = 9 of a step of 16 calls
    signal_a_call = float(np.square(MEAN).sum()) / (9.0 * 16.0)
    assert table["group"]["snr2_1000"] == pytest.approx(1000.0 * signal_a_call, rel=0.05)
    assert squared_mean(list(found.values())) == pytest.approx(float(np.square(MEAN).sum()), rel=0.05)
    assert all(row["bias"] == pytest.approx(1.0, abs=0.2) for row in table.values())


def test_another_mean_is_seen() -> None:
    found = {"group": made(2, 3.0, 8.0), "same": made(4, 3.0, 8.0), "other": made(3, 3.0, 8.0)}
    found["other"] = Drawn(found["other"].sketches + MEAN, 8.0)
    assert compare(found, "group")["other"]["bias"] > 3.0


def test_what_a_reference_explains() -> None:
    shared, own = made(2, 3.0, 8.0), made(5, 1.0, 8.0)
    policy = Drawn(2.0 * shared.sketches + own.sketches, 8.0)
    found = explained(policy, shared)
    assert found["r2"] == pytest.approx(36.0 / 37.0, abs=0.01)
    assert found["factor"] == pytest.approx(2.0, abs=0.02)


def test_a_run_goes_on_where_it_was(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    shutil.copytree(tiny_folder, project / "weights")
    write_project(project)
    write_params(
        project,
        backbone={"path": "weights", "steps": 2},
        generate={"candidates": COUNT},
        pair={"top": TOP},
        train=SHORT | {"beta": 50.0},
    )
    arguments = ["--project", str(project), "--out", str(tmp_path / "out"), "--steps", "4", "--groups", "2"]
    monkeypatch.setattr(sys, "argv", ["signal", *arguments, "--json", str(tmp_path / "first.json")])
    signal.main()
    first = json.loads((tmp_path / "first.json").read_text())
    rows = first["schemes"]
    assert rows["group"]["calls"] == rows["pair, N a group"]["calls"] == rows["pair, 1 a group"]["calls"]
    assert all(row["worth"] > 0.0 and row["low"] <= row["worth"] <= row["high"] for row in rows.values())
    assert len(first["proposal"]) == 2
    assert max(first["proposal"]) == 1.0
    assert "| group, stratified t | and t spread over the step |" in capsys.readouterr().out

    def again(*_: object) -> None:
        raise AssertionError("it was computed already")

    monkeypatch.setattr(PairBatches, "loss", again)
    monkeypatch.setattr(sys, "argv", ["signal", *arguments, "--json", str(tmp_path / "second.json")])
    signal.main()
    assert json.loads((tmp_path / "second.json").read_text()) == first
