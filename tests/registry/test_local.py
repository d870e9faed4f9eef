"""The local database: moved and copied with its project, and what is no database of MLflow's."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from components.errors import BadInput, DiskFull, ResumeLater
from components.registry import local
from components.registry.tracking import connected, experiment_id, shown
from components.settings import RegisterSettings
from tests.made import REPOSITORY

SETTINGS = RegisterSettings(experiment="e", model_name="m", tracking_uri="sqlite:///mlflow.db")


def log_and_register(root: Path) -> str:
    """A run with a file, and a version made of it; the run's id."""
    with connected(SETTINGS, root) as client:
        run = client.create_run(experiment_id(client, SETTINGS, root))
        client.log_text(run.info.run_id, "weights", "model/weights.txt")
        if not client.search_registered_models("name = 'm'"):
            client.create_registered_model("m")
        client.create_model_version("m", f"{run.info.artifact_uri}/model", run.info.run_id)
        return str(run.info.run_id)


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in (root / local.ARTIFACTS).rglob("*") if path.is_file()}


def text_of(root: Path, run_id: str) -> str:
    """The run's file, as `models:/…` and `dp2o promote` find it."""
    with connected(SETTINGS, root) as client:
        uri = client.get_run(run_id).info.artifact_uri
        assert uri.startswith((root / local.ARTIFACTS).as_uri())
        return mlflow.artifacts.load_text(f"{uri}/model/weights.txt")


@pytest.fixture
def project(tmp_path: Path, empty_database: Path) -> tuple[Path, str]:
    """A project with a registered model, and its run."""
    root = tmp_path / "a project's 1st place"
    root.mkdir()
    shutil.copy(empty_database, root / "mlflow.db")
    return root, log_and_register(root)


def test_a_moved_project_finds_its_models(project: tuple[Path, str], tmp_path: Path) -> None:
    root, run_id = project
    assert text_of(root, run_id) == "weights"
    for place in ("elsewhere", "elsewhere again"):
        root = root.rename(tmp_path / place)
        assert text_of(root, run_id) == "weights"
    first = files(root)
    log_and_register(root)
    assert first < files(root)
    assert not (tmp_path / "a project's 1st place").exists()


def test_a_copied_project_writes_nothing_into_the_first(project: tuple[Path, str], tmp_path: Path) -> None:
    root, run_id = project
    copy = shutil.copytree(root, tmp_path / "copy")
    before = files(root)
    assert text_of(copy, run_id) == "weights"
    log_and_register(copy)
    assert files(root) == before < files(copy)
    with connected(SETTINGS, copy) as client:
        (version,) = [one for one in client.search_model_versions("name = 'm'") if one.run_id == run_id]
        assert client.get_model_version_download_uri("m", version.version).startswith((copy / local.ARTIFACTS).as_uri())
    assert text_of(root, run_id) == "weights"


def test_artifacts_that_did_not_come_along_stay_where_they_are(project: tuple[Path, str], tmp_path: Path) -> None:
    root, run_id = project
    (tmp_path / "database alone").mkdir()
    shutil.copy(root / "mlflow.db", tmp_path / "database alone")
    with connected(SETTINGS, tmp_path / "database alone") as client:
        assert client.get_run(run_id).info.artifact_uri.startswith((root / local.ARTIFACTS).as_uri())


def test_places_of_other_experiments_stay(project: tuple[Path, str], tmp_path: Path) -> None:
    root, _ = project
    with connected(SETTINGS, root) as client:
        other = client.create_experiment("other", artifact_location="file:///srv/artifacts")
    moved = root.rename(tmp_path / "moved")
    with connected(SETTINGS, moved) as client:
        assert client.get_experiment(other).artifact_location == "file:///srv/artifacts"


ASK = "import sys, pathlib, tests.registry.test_local as here; here.ask(pathlib.Path(sys.argv[1]))"


def ask(root: Path) -> None:
    with connected(SETTINGS, root) as client:
        client.search_experiments()


@pytest.mark.parametrize("damage", ["junk", "cut", "garbled"])
def test_a_damaged_database_is_told_with_the_way_out(tmp_path: Path, empty_database: Path, damage: str) -> None:
    whole = empty_database.read_bytes()
    page = 4096
    content = {
        "junk": b"no database" * 1000,
        "cut": whole[: len(whole) // 2],
        "garbled": whole[:page] + b"\xff" * 20 * page + whole[21 * page :],
    }[damage]
    (tmp_path / "mlflow.db").write_bytes(content)
    with pytest.raises(BadInput, match=r"mlflow\.db is damaged .* restore it from a backup"):
        ask(tmp_path)
    assert (tmp_path / "mlflow.db").read_bytes() == content
    (tmp_path / "mlflow.db").write_bytes(whole)
    # in a process of its own, as people do: MLflow keeps the connection, and SQLite what it read through it
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    before = (tmp_path / "mlflow.db").read_bytes()
    with pytest.raises(BadInput, match=r"another program \(its tables are songs …\): name another file"):
        ask(tmp_path)
    assert (tmp_path / "mlflow.db").read_bytes() == before


def test_another_versions_database_names_the_upgrade(tmp_path: Path, empty_database: Path) -> None:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(BadInput, match=r"cannot be opened: .*\n.*take a backup, then `mlflow db upgrade sqlite:///"):
        ask(tmp_path)


def test_what_cannot_be_opened_is_no_defect(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    with pytest.raises(BadInput, match=r"mlflow\.db cannot be used \(unable to open database file\)"):
        ask(tmp_path)


def test_a_database_that_another_process_holds_is_waited_for(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_WAIT", 0.1)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    with sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ResumeLater, match="held by another process: run the same command again"):
            ask(tmp_path)


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("mysql://user:secret@db/mlflow", r"mysql://user:\*\*\*@db/mlflow needs the package MySQLdb, which is not"),
        ("gopher://mlflow", "unsupported URI 'gopher://mlflow'"),
        ("http//mlflow:5000", "Name another place in MLFLOW_TRACKING_URI"),
    ],
)
def test_a_uri_that_nothing_here_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uri: str, why: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=why) as refused:
        ask(tmp_path)
    assert "secret" not in str(refused.value)


def test_a_password_is_not_shown() -> None:
    assert shown("postgresql://ada:pass@word@db:5432/x") != "postgresql://ada:pass@word@db:5432/x"
    assert shown("http://mlflow:5000") == "http://mlflow:5000"
    assert shown("sqlite:////srv/mlflow.db") == "sqlite:////srv/mlflow.db"


def test_a_database_whose_making_was_cut_off_says_what_helps(tmp_path: Path) -> None:
    """Its rights are right: it is to be moved away."""
    told = local.user_error(tmp_path / "mlflow.db", sqlite3.OperationalError("duplicate column name: step"))
    assert "or move it away and run `dp2o register`" in str(told)
    full = local.user_error(tmp_path / "mlflow.db", sqlite3.OperationalError("database or disk is full"))
    assert isinstance(full, DiskFull)


def test_a_database_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow cannot go on with tables that were half made: the same command would fail for ever."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415

    class CutOff(SqlAlchemyStore):  # type: ignore[misc]  # mlflow has no types
        def __init__(self, uri: str, artifacts: str) -> None:
            with sqlite3.connect(uri.removeprefix(local.SQLITE)) as connection:
                connection.execute("CREATE TABLE experiments (experiment_id INTEGER)")
            raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore", CutOff)
        with pytest.raises(DiskFull, match="make room"), connected(SETTINGS, tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []
    with connected(SETTINGS, tmp_path) as client:
        assert client.get_experiment("0").artifact_location == local.artifacts_of(tmp_path / "mlflow.db") + "/0"
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_the_quicker_of_two_makes_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database, link = tmp_path / "mlflow.db", os.link

    def late(made: Path, place: Path) -> None:
        place.write_bytes(b"the other one")
        link(made, place)

    monkeypatch.setattr(os, "link", late)
    local.prepare(database)
    assert database.read_bytes() == b"the other one"
    assert list(tmp_path.iterdir()) == [database]
