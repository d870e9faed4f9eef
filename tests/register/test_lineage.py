import logging
import subprocess
from pathlib import Path

import pytest

from components.register.lineage import Lineage, collect, params_digest
from components.settings import Settings, load_settings
from components.storage.commit import UNKNOWN
from components.storage.digests import of_file
from tests.made import REPOSITORY

EVALUATED = {"base": "b", "sampler": "s", "metrics": "m", "normaliser": "n"}


@pytest.fixture
def settings() -> Settings:
    return load_settings(REPOSITORY / "params.yaml")


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True, timeout=300
    )
    return done.stdout.strip()


def test_outside_of_git_all_is_unknown_with_warnings(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with caplog.at_level(logging.WARNING):
        lineage = collect(settings, tmp_path, "w", {})
    unknown = ("git_commit", "git_dirty", "dvc_lock", "dataset", "base_model", "sampler", "metrics", "normaliser")
    assert {name for name in unknown if getattr(lineage, name) == UNKNOWN} == set(unknown)
    assert lineage.model == "w"
    assert "not a git repository" in caplog.text
    assert "dvc.lock does not exist" in caplog.text


def test_commit_and_dirt(settings: Settings, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("a = 1\n")
    (tmp_path / "dvc.lock").write_text("stages: {}\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    lineage = collect(settings, tmp_path, "w", EVALUATED)
    assert lineage.git_commit == git(tmp_path, "rev-parse", "HEAD")
    assert lineage.git_dirty == "false"

    (tmp_path / "dvc.lock").write_text("stages: {train: {}}\n")  # a pipeline run rewrites it
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/evaluation.json").write_text("{}")
    assert collect(settings, tmp_path, "w", EVALUATED).git_dirty == "false"

    (tmp_path / "code.py").write_text("a = 2\n")
    assert collect(settings, tmp_path, "w", EVALUATED).git_dirty == "true"


def test_lock_digest_is_the_same_before_and_after_register_ran(settings: Settings, tmp_path: Path) -> None:
    digests = []
    for lock in (
        "stages: {train: {cmd: a}}",
        "stages: {train: {cmd: a}, register: {cmd: b}}",
        "stages: {train: {cmd: c}}",
    ):
        (tmp_path / "dvc.lock").write_text(lock)
        digests.append(collect(settings, tmp_path, "w", EVALUATED).dvc_lock)
    assert digests[0] == digests[1] != digests[2]


def test_dataset_is_the_file_s_digest(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dataset.parquet").write_bytes(b"rows")
    assert collect(settings, tmp_path, "w", EVALUATED).dataset == of_file(tmp_path / "data/dataset.parquet")


def test_params_digest_ignores_where_and_how_it_is_shown(settings: Settings) -> None:
    register = settings.register_.model_copy(update={"tracking_uri": "http://elsewhere"})
    run = settings.run.model_copy(update={"threads": 7})
    assert params_digest(settings.model_copy(update={"register_": register, "run": run})) == params_digest(settings)
    train = settings.train.model_copy(update={"seed": 1})
    assert params_digest(settings.model_copy(update={"train": train})) != params_digest(settings)


def test_identity_is_of_weights_dataset_and_params_alone() -> None:
    one = Lineage("c1", "false", "l1", "data", "params", "model", "b", "s", "m", "n")
    same = Lineage("c2", "true", "l2", "data", "params", "model", "b", "s", "m", "n")
    other = Lineage("c1", "false", "l1", "data", "params", "other", "b", "s", "m", "n")
    assert one.identity == same.identity != other.identity
    assert one.tags()["dp2o.git_commit"] == "c1"
