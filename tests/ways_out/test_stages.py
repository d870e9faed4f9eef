"""Stages whose inputs are missing, damaged or of another run: who does what the message says gets on."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.artifacts import tables
from components.artifacts.shards import Shard
from components.entry.main import run_stage
from components.errors import BadInput, ExitCode
from components.pipeline.files import follow_settings
from tests.drawn import write
from tests.prepare.test_pairs import write_pair

Change = Callable[[Path], object]
pytestmark = pytest.mark.slow


def removed(path: str) -> Change:
    return lambda root: shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()


def cut(path: str) -> Change:
    """The file's first half alone."""

    def change(root: Path) -> None:
        content = (root / path).read_bytes()
        (root / path).write_bytes(content[: len(content) // 2])

    return change


def written(path: str, text: str) -> Change:
    return lambda root: (root / path).write_text(text)


def both(*changes: Change) -> Change:
    return lambda root: [change(root) for change in changes]


def settings(**values: object) -> Change:
    """Settings by `block__key`."""
    return lambda root: write(root, {name.replace("__", "."): value for name, value in values.items()})


def _without_an_image(root: Path) -> None:
    rows = tables.read_rows(root / "data/dataset.parquet", tables.DATASET)
    dropped = next(row for row in rows if row["split"] == "align")
    rest = [row for row in rows if row is not dropped]
    tables.write_rows(root / "data/dataset.parquet", tables.DATASET, rest)


def _other_weights(root: Path) -> None:
    path = root / "models/aligned/best/model.safetensors"
    weights = load_file(path)
    save_file({name: torch.zeros_like(weight) for name, weight in weights.items()}, path)


def _few_photos(root: Path) -> None:
    (root / "aside").mkdir()
    for path in sorted((root / "photos").iterdir())[2:]:
        path.rename(root / "aside" / path.name)


def _photos_back(root: Path) -> None:
    for path in (root / "aside").iterdir():
        path.rename(root / "photos" / path.name)


def _real_pairs(root: Path) -> None:
    for seed in range(3):
        write_pair(root, f"Canon_00{seed}", seed, "set/{}_LR4.png", "set/{}_HR.png")
    write(root, {"prepare.pairs": [{"lr": "set", "hr": "set"}]})


def nothing(root: Path) -> None:
    """For who is only to run a stage."""


ROWS: list[tuple[str, Change, str, Change, tuple[str, ...]]] = [
    ("generate", removed("data/dataset.parquet"), "does not exist; run the stage that makes it", nothing, ("prepare",)),
    (
        "pair",
        cut("data/scores.parquet"),
        "remove it and run its stage again",
        removed("data/scores.parquet"),
        ("score",),
    ),
    (
        "generate",
        both(cut("data/dataset/00000.tar"), removed("cache")),
        "remove it and run its stage again",
        removed("data/dataset/00000.tar"),
        ("prepare",),
    ),
    ("report", removed("reports/evaluation.json"), "does not exist: run evaluate first", nothing, ("evaluate",)),
    ("report", written("reports/evaluation.json", "{}"), "is damaged.*: run evaluate again", nothing, ("evaluate",)),
    ("evaluate", removed("models/aligned"), "does not exist; run train first", nothing, ("train",)),
    ("report", removed("reports/training.csv"), "does not exist; run train first", nothing, ("train",)),
    (
        "report",
        written("reports/training.csv", "a,b\n1,2\n"),
        "lacks the columns .*run train again",
        nothing,
        ("train",),
    ),
    ("register", _other_weights, "run evaluate again", nothing, ("evaluate",)),
    ("score", _without_an_image, "1 LR images that .* lacks.*; run generate again", nothing, ("generate",)),
    (
        "pair",
        _without_an_image,
        "which data/dataset.parquet lacks; run generate and score",
        nothing,
        ("generate", "score"),
    ),
    ("pair", settings(score__fr=["psnr", "psnr_y"]), "no score by .*run the score stage again", nothing, ("score",)),
    ("prepare", _few_photos, "cannot fill the splits .*: add photos to prepare.sources, or name", _photos_back, ()),
    (
        "prepare",
        _few_photos,
        r"or name some for training alone in prepare.align_sources and set prepare.split.align to 0",
        settings(prepare__align_sources=["aside"], prepare__split={"align": 0.0, "validation": 0.5, "test": 0.5}),
        (),
    ),
    (
        "prepare",
        lambda root: (root / "photos").rename(root / "mine"),
        "is not a folder; name one that holds photos",
        settings(prepare__sources=["mine"]),
        (),
    ),
    (
        "prepare",
        both(removed("photos"), lambda root: (root / "photos").mkdir()),
        "holds no photo",
        settings(prepare__sources=["more", "old"], prepare__min_side=8, prepare__crop=32),
        (),
    ),
    (
        "prepare",
        settings(prepare__pairs=[{"lr": "more", "hr": "more"}]),
        "makes a pair: .*name the folders of LR and HR whose files are named alike, but for marks such as _LR4 and _HR",
        _real_pairs,
        (),
    ),
    (
        "prepare",
        settings(prepare__pairs=[{"lr": "old", "hr": "photos"}]),
        "all 1 pairs of old and photos are of scale 2, prepare.scale is 4 .*name folders of scale 4",
        _real_pairs,
        (),
    ),
]


@pytest.mark.parametrize(
    ("stage", "damage", "message", "way", "stages"), ROWS, ids=[f"{row[0]}: {row[2][:40]}" for row in ROWS]
)
def test_who_does_what_a_stage_says_gets_on(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    damage: Change,
    message: str,
    way: Change,
    stages: tuple[str, ...],
) -> None:
    damage(project)
    assert run_stage(stage, project / "params.yaml") is ExitCode.BAD_INPUT
    said = " ".join(capsys.readouterr().err.split())
    with pytest.raises(BadInput, match=message):
        raise BadInput(said)
    way(project)
    for name in (*stages, stage):
        assert run_stage(name, project / "params.yaml") is ExitCode.OK, capsys.readouterr().err


@pytest.mark.parametrize("stage", ["prepare", "pair", "report", "register"])
def test_a_stage_that_has_no_parts_runs_without_them(
    project: Path, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    assert run_stage(stage, project / "params.yaml", Shard(0, 2)) is ExitCode.BAD_INPUT
    said = capsys.readouterr().err
    assert "leave --shard out" in said or "run it without --shard" in said
    assert run_stage(stage, project / "params.yaml") is ExitCode.OK


@pytest.mark.parametrize("name", ["dvc.yaml", "dvc.lock"])
def test_a_damaged_file_of_the_pipeline_is_restored_with_git(project: Path, name: str) -> None:
    (project / "dvc.yaml").write_text("stages:\n  prepare: {cmd: python -m components.prepare, deps: [photos]}\n")
    (project / "dvc.lock").write_text("schema: '2.0'\nstages:\n  prepare: {cmd: python -m components.prepare}\n")
    git = ["git", "-C", str(project), "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "dvc.yaml", "dvc.lock"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *arguments], check=True, timeout=300)
    (project / name).write_text("stages: [")
    with pytest.raises(BadInput, match="restore it with git"):
        follow_settings(project)
    subprocess.run([*git, "checkout", "-q", name], check=True, timeout=300)
    follow_settings(project)
