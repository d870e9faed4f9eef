"""The documents of a retraining: what is written is what is read, and what is damaged has a name and a way out."""

from pathlib import Path

import pytest

from components.artifacts import paths
from components.artifacts.retraining import (
    ChampionReport,
    Comparison,
    Decision,
    DriftReport,
    IntakeReport,
    TrainedShards,
    TrainingAttempt,
)
from components.errors import BadInput
from components.storage.publish import write_json

DRIFT = DriftReport(
    decision=Decision(True, 40, ("sharpness: PSI 2",), "train again: sharpness: PSI 2"),
    comparisons=(
        Comparison(
            "sharpness", "drift", "PSI 2", 500, 40, 2.0, 0.5, 1e-9, (0.1, 0.2), (0.5, 0.5, 0.0), (0.0, 0.5, 0.5)
        ),
        Comparison("noise", "unknown", "there is no training set", 0, 40),
    ),
    shards=("a.tar",),
)
INTAKE = IntakeReport(
    source="s3://b/in/", listed=9, accepted=("p",), quarantined={"hostile": 1, "duplicate": 2}, waiting=1, gone=0,
    shard="a.tar", dry_run=False,
)  # fmt: skip


@pytest.mark.parametrize("document", [
    INTAKE, DRIFT, ChampionReport(champion="sr/3", digest="d"), TrainedShards(shards=("a.tar",)),
    TrainedShards(attempt=TrainingAttempt(shards=("b.tar",), champion="")),
])  # fmt: skip
def test_what_is_written_is_read(document: IntakeReport, tmp_path: Path) -> None:
    document.write(tmp_path)
    assert type(document).read(tmp_path) == document


def test_an_intake_in_one_sentence() -> None:
    assert INTAKE.text == (
        "9 objects under s3://b/in/; 1 new pictures; 3 set aside (2 duplicate, 1 hostile); 1 wait for the next run"
    )


def test_a_finished_retraining_of_before_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / paths.TRAINED_SHARDS, {"shards": ["a.tar"], "attempt": None})
    assert TrainedShards.read(tmp_path) == TrainedShards(shards=("a.tar",))
    assert TrainedShards.read_if_there(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(("text", "place"), [
    ("{", "Invalid JSON"), ('{"shards": "a.tar"}', "shards: "), ('{"attempt": {"champion": ""}}', "attempt.shards: "),
    ('{"shard": []}', "shard: "),
])  # fmt: skip
def test_a_damaged_record_names_what_is_wrong_and_the_way_out(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / paths.TRAINED_SHARDS
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(BadInput, match=rf"(?s)retrain\.json is damaged.*{place}.*`git checkout data/retrain\.json`"):
        TrainedShards.read(tmp_path)
