"""Controls on made images: each is tuned on validation and judged beside the aligned model."""

import json
from pathlib import Path

import pytest

from components.artifacts import tables
from components.backbones.samplers.residual_euler import ResidualEuler
from components.evaluate import controls
from components.evaluate.stage import run
from tests.evaluate.project import build, settings


def test_the_settings_value_is_tried_first_and_steps_keep_within_the_sampler() -> None:
    four = ResidualEuler(1.0, 4)
    assert controls.values_tried(four, "gain") == [1.0, 0.5, 0.75, 1.25, 1.5]
    assert controls.values_tried(four, "steps") == [4.0, 2.0, 8.0]
    assert controls.values_tried(ResidualEuler(1.0, 15), "steps") == [15.0, 8.0, 20.0]


def test_controls_are_tuned_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "GAINS", (1.5,))
    root = build(tmp_path)
    chosen = settings(evaluate={"controls": ["gain"], "control_images": 2})
    path = root / "data/dataset.parquet"
    dataset = tables.read_rows(path, tables.DATASET)
    for row in dataset[:2]:
        row["split"] = "validation"
    tables.write_rows(path, tables.DATASET, dataset)
    run(chosen, root)
    found = json.loads((root / "reports/evaluation.json").read_text())
    control = found["controls"]["gain"]
    assert set(control["validation_rewards"]) == {"1", "1.5"}
    assert control["value"] == float(max(control["validation_rewards"], key=control["validation_rewards"].get))
    assert control["reward"]["difference"] == pytest.approx(
        control["reward"]["aligned"] - control["reward"]["control"], abs=1e-9
    )
    halves = found["anatomy"]["halves"]
    assert halves["fr"] + halves["nr"] == pytest.approx(found["reward"]["difference"], abs=1e-6)
