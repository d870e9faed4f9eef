"""What a user's commands say and how they end: nothing of a library's own, wherever they are typed, and after the
project was moved and copied."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.day import ASKED, MODEL, STAGES, Step
from tests.drawn import make_photos, tiny_params
from tests.made import REPOSITORY
from tests.noise import not_ours

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Step]]:
    folder = tmp_path_factory.mktemp("day")
    make_photos(folder)
    values = tiny_params()
    values["prepare"]["sources"] = [str(folder / "photos")]
    values["backbone"]["path"] = str(folder / "base")
    values["register"] |= {"model_name": "sr-dev"}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(values))
    git = {f"GIT_{who}_{what}": "ada@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {name: value for name, value in os.environ.items() if name != "TQDM_MININTERVAL"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.day", str(folder)],
        cwd=REPOSITORY,
        env=environment | git | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr
    return folder, [Step(**step) for step in json.loads(done.stdout)]


def test_every_command_does_its_work(day: tuple[Path, list[Step]]) -> None:
    """The gate refuses a model that was trained for two steps, or waits for a person: that is its work."""
    ended = {(step.at, *step.words): (step.code, step.err) for step in day[1]}
    assert {words: end for words, end in ended.items() if end[0] != (3 if "promote" in words else 0)} == {}


def test_nothing_is_said_that_is_not_ours(day: tuple[Path, list[Step]]) -> None:
    said = {(step.at, *step.words): not_ours(step.err) for step in day[1]}
    assert {words: lines for words, lines in said.items() if lines} == {}
    assert all(step.err for step in day[1] if step.words[0] in STAGES)  # it was read at all


@pytest.mark.parametrize(
    "line",
    [
        "Downloading artifacts:   0%|     | 0/2 [00:00<?]\rDownloading artifacts: 100%|####| 2/2 [00:01<00:00]",
        "Failed to load CPU gemm_4bit_forward from kernels-community: No module named 'kernels'.",
        "2026/11/30 23:48:52 INFO mlflow.store.db.utils: Creating initial MLflow database tables...",
        "/x/site-packages/timm/models/layers/__init__.py:48: FutureWarning: Importing from timm.models.layers",
    ],
)
def test_a_librarys_line_is_known(line: str) -> None:
    assert not_ours(line) != []


def test_questions_have_the_same_answers_everywhere(day: tuple[Path, list[Step]]) -> None:
    """Beside a run, from a folder of the project, and with --params of another folder."""
    folder, steps = day
    for words in ASKED:
        typed = [step for step in steps if tuple(step.words[: len(words)]) == words]
        assert {step.at for step in typed} == {"first", "deep", folder.name}
        assert not any("lock" in step.err for step in typed)
        if words[0] != "status":
            assert len({step.out for step in typed}) == 1, words
    running, *after = [json.loads(step.out)["run"] for step in steps if step.words[0] == "status"]
    assert running["stage"] == "score"
    assert after == [None, None]


def test_a_moved_and_a_copied_project_have_their_models(day: tuple[Path, list[Step]]) -> None:
    folder, steps = day
    assert not (folder / "first").exists()
    restored = [step for step in steps if MODEL in step.words]
    assert [step.at for step in restored] == ["copied", "moved"]
    pictures = [Image.open(folder / name / "x.png").tobytes() for name in ("copied", "moved")]
    assert pictures[0] == pictures[1] == Image.open(folder / "moved/here.png").tobytes()
    verdicts = [json.loads(step.out) for step in steps if step.words[0] == "promote"]
    assert len(verdicts) == 2
