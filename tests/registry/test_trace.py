"""Where a version comes from, with a real registry and a real git repository."""

import copy
import json
import shutil
import subprocess
from pathlib import Path

import mlflow
import pytest
import yaml
from typer.testing import CliRunner

from components.artifacts.lock import Lock
from components.cli.app import app
from components.errors import BadInput
from components.registry import ledger
from components.registry.history import Content, History
from components.registry.trace import as_text, trace
from components.registry.trust import UNSIGNED
from components.registry.versions import IDENTITY_TAG
from components.settings import Settings, load_settings
from tests.artifacts.test_lock import LOCK
from tests.made import small_params


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=root, check=True, capture_output=True, text=True, timeout=300
    ).stdout.strip()


def commit_lock(root: Path, content: dict[str, object]) -> str:
    (root / "dvc.lock").write_text(yaml.safe_dump(content))
    git(root, "add", "-A")
    git(root, "commit", "-qm", "run")
    return git(root, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with nothing in it: its tables take ten seconds to make."""
    root = tmp_path_factory.mktemp("empty")
    registry(root).search_registered_models()
    return root / "mlflow.db"


@pytest.fixture
def project(tmp_path: Path, empty: Path) -> tuple[Settings, Path]:
    shutil.copy(empty, tmp_path / "mlflow.db")
    values = small_params()
    values["register"] = {"experiment": "test", "model_name": "sr-dev", "tracking_uri": "sqlite:///mlflow.db"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / ".gitignore").write_text("mlflow.db\n")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "config", "user.name", "test")
    git(tmp_path, "config", "user.email", "test@localhost")
    return load_settings(tmp_path / "params.yaml"), tmp_path


def registry(root: Path) -> mlflow.MlflowClient:
    mlflow.set_tracking_uri(f"sqlite:///{root / 'mlflow.db'}")
    return mlflow.MlflowClient()


def promoted(root: Path, lock_digest: str) -> None:
    """A candidate as `register` leaves it, and its copy in production as a promotion does."""
    client = registry(root)
    tags = {IDENTITY_TAG: "i", "dp2o.dvc_lock": lock_digest, "dp2o.model": "w" * 64, "dp2o.git_commit": "a" * 40}
    for name, source in (("sr-dev", str(root / "weights")), ("sr", "models:/sr-dev/1")):
        client.create_registered_model(name)
        client.create_model_version(name, source, tags=tags)
    content = Content("promote", "sr", 1, "sr-dev/1", None, "ada", "sharper", {})
    ledger.append(client, "sr", content, History([], [], None), UNSIGNED)
    client.set_registered_model_alias("sr", "champion", "1")


def test_from_the_alias_back_to_the_photos_through_a_lock_that_later_runs_have_changed(
    project: tuple[Settings, Path],
) -> None:
    root = project[1]
    recorded = commit_lock(root, LOCK)
    later = copy.deepcopy(LOCK)
    later["stages"]["pair"]["outs"][0]["md5"] = "another"  # type: ignore[index]
    commit_lock(root, later)
    promoted(root, Lock(LOCK["stages"]).digest(("register",)))
    found = trace(*project, "models:/sr@champion")
    assert (found.version.aliases, found.source, found.recorded_in) == (["champion"], "sr-dev/1", recorded)
    assert [record["content"]["by"] for record in found.decisions] == ["ada"]
    assert [step.stage for step in found.steps] == ["train", "pair", "score", "generate"]
    assert [item.path for item in found.sources] == ["data/photos"]
    text = as_text(found)
    for part in ("sr/1  @champion", "promote by ada, record 1: sharper", "gate: not judged", "copied from sr-dev/1",
                 f"dvc.lock of {recorded[:12]}", "data/pairs.parquet  md5 p, 3 B",
                 "from\n  data/photos  md5 f.dir, 9 B, 36 files"):  # fmt: skip
        assert part in text
    candidate = trace(*project, "sr-dev/1")
    assert (candidate.source, len(candidate.decisions)) == ("", 1)  # it was judged, and copied


def test_the_command_gives_the_same_as_json(project: tuple[Settings, Path]) -> None:
    root = project[1]
    (root / "dvc.lock").write_text(yaml.safe_dump(LOCK))  # not committed yet
    promoted(root, Lock(LOCK["stages"]).digest(("register",)))
    done = CliRunner().invoke(app, ["lineage", "sr@champion", "--json", "--params", str(root / "params.yaml")])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["recorded_in"] == "this folder"
    assert told["steps"][-1]["outputs"] == [{"path": "data/candidates", "md5": "c.dir", "size": 5, "files": 4}]


def test_a_lock_that_is_not_here_is_said(project: tuple[Settings, Path]) -> None:
    promoted(project[1], "0" * 64)
    found = trace(*project, "sr/1")
    assert (found.recorded_in, found.steps) == (None, ())
    assert "is not in this folder nor in any commit here: fetch the branch" in as_text(found)


def test_a_version_of_others_is_refused(project: tuple[Settings, Path]) -> None:
    client = registry(project[1])
    client.create_registered_model("theirs")
    client.create_model_version("theirs", str(project[1]))
    with pytest.raises(BadInput, match="was not registered by `dp2o register`"):
        trace(*project, "theirs/1")
