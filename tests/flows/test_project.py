"""What a flow records is what DVC itself would have: a clone pulls it, finds it clean, and has nothing to do."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from components.errors import BadInput
from components.storage.dvc_hash import dvc_md5, listing
from components.storage.store import Store
from flows.project import Project
from tests.flows.made import make_project, outputs, record_all, run

STAGES = ["prepare", "generate", "score", "pair", "train", "evaluate", "report", "register"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path / 'remote'}")


def test_stages_come_in_their_order(project: Project) -> None:
    assert project.stages == STAGES


def test_a_new_project_has_everything_to_do(project: Project) -> None:
    assert project.stale("prepare") == "it never ran"


def test_nothing_is_left_to_do_in_a_clone(project: Project, store: Store, tmp_path: Path) -> None:
    record_all(project, store, tmp_path / "made")
    root = project.root
    run(root, "dvc", "remote", "add", "-d", "storage", store.url.removeprefix("file://"))
    run(root, "git", "add", ".dvc/config", *project.written())
    assert "??" not in run(root, "git", "status", "--porcelain")
    run(root, "git", "commit", "-qm", "made")
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "-q", str(root), str(clone))
    run(clone, "dvc", "pull", "-q")
    assert json.loads(run(clone, "dvc", "status", "--json")) == {}
    assert "Running stage" not in run(clone, "dvc", "repro", "--dry")
    assert (clone / "models/aligned/best/config.json").read_text() == "models/aligned/best/config.json of train\n"
    for name in STAGES:
        assert Project(clone).stale(name) == ""


def test_a_parameter_of_pair_makes_pair_and_what_follows_stale(project: Project, store: Store, tmp_path: Path) -> None:
    record_all(project, store, tmp_path / "made")
    params = project.root / "params.yaml"
    values = yaml.safe_load(params.read_text())
    values["pair"]["intra_weights"] = False
    params.write_text(yaml.safe_dump(values))
    again = Project(project.root)
    # register as well: the identity of a version has all settings in it
    assert [name for name in STAGES if again.stale(name)] == ["pair", "report", "register"]
    assert again.stale("pair") == "parameters changed: pair"
    # nothing but the hashes of what pair made tells the others
    again.record("pair", outputs(again, "pair", store, tmp_path / "made", word="other "), store)
    assert [name for name in STAGES if again.stale(name)] == ["train", "report", "register"]


def test_the_same_outputs_leave_what_follows_alone(project: Project, store: Store, tmp_path: Path) -> None:
    record_all(project, store, tmp_path / "made")
    (project.root / "components/pair/stage.py").write_text("# other code\n")
    again = Project(project.root)
    assert again.stale("pair") == "components/pair changed"
    again.record("pair", outputs(again, "pair", store, tmp_path / "made"), store)
    assert not any(again.stale(name) for name in STAGES)


def test_a_task_needs_what_dvc_says(project: Project, store: Store, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="run its stage first"):
        project.task("generate", store.url)
    project.record("prepare", outputs(project, "prepare", store, tmp_path / "made"), store)
    task = project.task("generate", store.url)
    origins = {entry.path: entry.origin for entry in task.inputs}
    assert origins["components/generate"] == "image"
    assert origins["data/dataset"] == "store"
    assert task.outputs == ["data/candidates", "data/candidates.parquet"]
    assert task.digest == project.task("generate", "s3://elsewhere").digest


def test_the_image_has_to_have_the_very_code(project: Project, store: Store) -> None:
    entries = {entry.path: entry.md5 for entry in project.task("prepare", store.url).inputs}
    assert dvc_md5(project.root / "components/prepare") == entries["components/prepare"]
    assert dvc_md5(project.root / "data/photos") == entries["data/photos"]


def test_our_listing_is_dvcs(project: Project, store: Store) -> None:
    files = {"b/c": store.keep(project.root / "dvc.yaml"), "a": store.keep(project.root / "params.yaml")}
    content, md5 = listing(files)
    run(project.root, "mkdir", "-p", "folder/b")
    run(project.root, "cp", "dvc.yaml", "folder/b/c")
    run(project.root, "cp", "params.yaml", "folder/a")
    run(project.root, "dvc", "add", "-q", "folder")
    assert yaml.safe_load((project.root / "folder.dvc").read_text())["outs"][0]["md5"] == md5
    assert json.loads(content)[0]["relpath"] == "a"


def test_photos_tracked_by_dvc_come_from_the_store(project: Project, store: Store) -> None:
    root = project.root
    run(root, "git", "rm", "-rq", "--cached", "data/photos")
    run(root, "dvc", "add", "-q", "data/photos")
    subprocess.run(["rm", "-r", root / "data/photos"], check=True, timeout=300)
    (photos,) = [entry for entry in Project(root).task("prepare", store.url).inputs if entry.path == "data/photos"]
    assert photos.origin == "store"
    assert photos.md5 == yaml.safe_load((root / "data/photos.dvc").read_text())["outs"][0]["md5"]


def test_a_missing_output_is_named(project: Project, store: Store, tmp_path: Path) -> None:
    made = outputs(project, "prepare", store, tmp_path / "made")
    del made["data/quarantine.parquet"]
    with pytest.raises(BadInput, match=r"made no data/quarantine\.parquet"):
        project.record("prepare", made, store)


def test_what_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is no DVC project"):
        Project(tmp_path)
