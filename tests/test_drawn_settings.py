"""Settings drawn at random: each draw is refused before any work, by a message that names it, or runs to the end.

A bounded number runs here; `DP2O_DRAWS=500 pytest tests/test_drawn_settings.py` runs as many more.
"""

import os
import shutil
from pathlib import Path

import pytest

from components.errors import ExitCode
from tests.drawn import CHOICES, draw, make_photos, refusal, run_through, write

READ, RUN = 150, (17, 5)
"""Draws that are only read, and seeds of those that run through here."""
MORE = int(os.environ.get("DP2O_DRAWS", "0"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    make_photos(root)
    return root


def test_a_draw_is_taken_or_refused_by_name(photos: Path) -> None:
    taken = 0
    for seed in range(READ):
        drawn = draw(seed)
        write(photos, drawn)
        why = refusal(photos)
        taken += not why
        assert not why or any(name in why or name.partition(".")[2] in why for name in drawn), (drawn, why)
    assert READ // 5 < taken < READ * 4 // 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*RUN, *range(1000, 1000 + MORE)])
def test_what_is_taken_runs_to_the_end(
    photos: Path, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("photos", "more", "old", "base"):
        shutil.copytree(photos / folder, tmp_path / folder)
    drawn = draw(seed)
    write(tmp_path, drawn)
    if refusal(tmp_path):
        assert seed not in RUN
        return
    stage, code = run_through(tmp_path)
    said = capsys.readouterr().err
    if code is ExitCode.OK:
        assert (tmp_path / "reports/registration.json").is_file()
        return
    assert seed not in RUN
    assert stage in ("preflight", "prepare"), (drawn, said)
    assert not (tmp_path / "data/dataset.parquet").exists()
    assert any(name.partition(".")[2] in said for name in CHOICES), said


def test_each_value_is_judged_alone(photos: Path) -> None:
    """No value of the table ends in anything but a refusal or settings."""
    for name, values in CHOICES.items():
        for value in values:
            write(photos, {name: value})
            why = refusal(photos)
            assert not why or name.partition(".")[2] in why, (name, value, why)
