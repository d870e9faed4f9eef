"""What a run at work says of itself."""

import json
import os
from pathlib import Path

import pytest

from components.pipeline.status import Run, _doing


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (Run(7), "a run is at work (process 7)"),
        (Run(7, "train"), "a run is at work (process 7, stage train)"),
        (Run(7, "train", "round 2 of 3: scores"), "a run is at work (process 7, stage train, round 2 of 3: scores)"),
    ],
)
def test_what_people_read(run: Run, text: str) -> None:
    assert run.text == text


def test_a_round_is_told_while_its_process_lives(tmp_path: Path) -> None:
    note = tmp_path / "note.json"
    assert _doing(note) == ""
    for pid, expected in ((os.getpid(), "round 2 of 3: scores"), (2**22 + 1, "")):  # no Linux has so many processes
        note.write_text(json.dumps({"pid": pid, "doing": "round 2 of 3: scores"}))
        assert _doing(note) == expected
    note.write_text('{"pid": ')
    assert _doing(note) == ""
