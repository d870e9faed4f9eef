"""`dp2o gc` on a real S3 remote and a real MLflow server, by an account that may do nothing else.

What the champion and branches need stays, the champion restores as before, and who may not remove removes nothing.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml
from mlflow.server import get_app_client
from skimage import data

from components.register import stage
from components.registry.models import load_upscaler
from components.settings import load_settings
from components.storage.s3 import Client
from components.storage.store import Store
from tests.cleaning.project import Project, git
from tests.made import REPOSITORY
from tests.promote.championed import make_champion
from tests.register.project import make_project, save_model
from tests.services.accounts import Keys, put_policy
from tests.services.s3 import bucket, s3_environment  # noqa: F401
from tests.services.servers import Mlflow, Postgres

PHOTO = data.astronaut()[:20, 100:130].copy()


@dataclass(frozen=True)
class Scene:
    """A project with a champion, a candidate, and a version of a branch that is gone; `kept` are md5s of the first.

    Attributes:
        rights: by role, what a process needs to be it.
    """

    project: Project
    name: str
    kept: set[str]
    lost_run: str
    client: Client
    bucket: str
    rights: dict[str, dict[str, str]]

    def state(self) -> dict[str, set[str]]:
        """What is there, of each kind."""
        registry = mlflow.MlflowClient()
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix="store/")
        keys = {one["Key"].removeprefix("store/") for page in pages for one in page.get("Contents", ())}
        experiments = [
            one.experiment_id for one in registry.search_experiments(filter_string=f"name LIKE '{self.name}%'")
        ]
        return {
            "objects": {"".join(key.split("/")[-2:]) for key in keys if key.startswith("files/md5/")},
            "results": {key for key in keys if key.startswith("dp2o/results/")},
            "leases": {key for key in keys if key.startswith("dp2o/leases/")},
            "versions": {str(one.version) for one in registry.search_model_versions(f"name = '{self.name}-dev'")},
            "runs": {run.info.run_id for run in registry.search_runs(experiments)},
        }

    def gc(self, role: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`dp2o gc` in a process of its own, with the rights of a role alone."""
        command = [str(Path(sys.executable).with_name("dp2o")), "gc", "--older-than", "0d", "--json", *arguments]
        environment = os.environ | self.rights[role] | {"PYTHONPATH": str(REPOSITORY)}
        return subprocess.run(
            command, cwd=self.project.root, capture_output=True, text=True, check=False, env=environment, timeout=900
        )


@pytest.fixture
def admin(mlflow_server: Mlflow, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, str]], Any]:
    """This process is MLflow's admin; a function that makes a user with rights on experiments and models."""
    for key, value in mlflow_server.environment().items():
        monkeypatch.setenv(key, value)
    mlflow.set_tracking_uri(mlflow_server.url)
    users, client = get_app_client("basic-auth", tracking_uri=mlflow_server.url), mlflow.MlflowClient()

    def user(role: str, rights: dict[str, str]) -> dict[str, str]:
        name, password = f"{role}-{secrets.token_hex(3)}", secrets.token_hex(12)
        users.create_user(name, password)
        for place, right in rights.items():
            kind, _, own = place.partition(":")
            resource = client.get_experiment_by_name(own).experiment_id if kind == "experiment" else own
            users.grant_user_permission(name, kind, resource, right)
        return mlflow_server.environment(name, password)

    return user


@pytest.fixture
def scene(
    admin: Callable[[str, dict[str, str]], dict[str, str]],
    bucket: tuple[Client, str],  # noqa: F811
    keys: Keys,
    tmp_path: Path,
) -> Scene:
    client, where = bucket
    put_policy(client, where, keys)
    name = f"gc-{secrets.token_hex(3)}"
    project = make(tmp_path, name, f"s3://{where}/store")
    kept = set(project.lock("champion", ["aa"]))
    project.commit("champion")
    stage.run(project.settings, tmp_path)
    make_champion(project.settings, tmp_path, f"{name}-dev/1")
    git(tmp_path, "checkout", "-q", "-b", "given-up")
    project.lock("given-up", ["cc"])
    project.commit("given up")
    save_model(tmp_path, seed=1)
    stage.run(project.settings, tmp_path)
    lost = mlflow.MlflowClient().get_model_version(f"{name}-dev", "2").run_id
    git(tmp_path, "checkout", "-q", "main")
    git(tmp_path, "branch", "-D", "given-up")
    save_model(tmp_path, seed=2)
    stage.run(project.settings, tmp_path)
    project.result("kept", {"data/candidates/a.tar": sorted(kept)[0]})
    project.result("lost", {"data/candidates/a.tar": project.keep("lost").md5})
    own = {f"experiment:{name}": "MANAGE", f"experiment:{name}-promoted": "MANAGE",
           f"registered_model:{name}-dev": "MANAGE", f"registered_model:{name}": "MANAGE"}  # fmt: skip
    trainer = {f"experiment:{name}": "EDIT", f"registered_model:{name}-dev": "EDIT"}
    rights = {"cleaner": admin("cleaner", own), "stages": admin("stages", trainer)}
    for role, variables in rights.items():
        variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"] = keys[role]
    return Scene(project, name, kept, lost, client, where, rights)


def make(root: Path, name: str, store: str) -> Project:
    """A project with git, a DVC remote in S3, and a model to register."""
    from dvc.repo import Repo  # noqa: PLC0415  # a second to import

    make_project(root)
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["register"] = {"experiment": name, "model_name": f"{name}-dev", "tracking_uri": "sqlite:///mlflow.db"}
    values["gate"] = {"signing": "none"}
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    (root / ".gitignore").write_text("/cache/\n/models/\n/reports/\n/data/\n")
    git(root, "init", "-q")
    Repo.init(str(root))
    (root / ".dvc/config").write_text(
        f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {store}\n"
        f"    endpointurl = {os.environ['AWS_ENDPOINT_URL']}\n"
    )
    (root / "cache").mkdir()
    return Project(root, load_settings(root / "params.yaml"), (Store(f"file://{root}/.dvc/cache"), Store(store)))


def test_the_champion_serves_on_and_the_rest_is_gone(scene: Scene, postgres: Postgres) -> None:
    settings, root, champion = scene.project.settings, scene.project.root, f"{scene.name}@champion"
    restored, before = load_upscaler(settings, root, champion, {})(PHOTO, 3), scene.state()
    assert (before["versions"], len(before["results"]), len(before["runs"])) == ({"1", "2", "3"}, 2, 4)

    refused = scene.gc("stages", "--delete", "--yes")
    assert refused.returncode == 2, refused.stderr
    assert "check AWS_ACCESS_KEY_ID and its rights" in refused.stderr
    assert scene.state() == before

    looked = scene.gc("cleaner")
    assert looked.returncode == 0, looked.stderr
    assert scene.state() == before
    done = scene.gc("cleaner", "--delete", "--yes")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["things"]) == len(json.loads(looked.stdout)["things"]) > 5
    assert any("mlflow gc" in note for note in told["notes"])

    after = scene.state()
    assert after["objects"] == scene.kept
    assert after["results"] == {"dp2o/results/generate-kept/publish.json"}
    assert after["leases"] == set()
    assert after["versions"] == {"1", "3"}
    assert after["runs"] == before["runs"] - {scene.lost_run}
    np.testing.assert_array_equal(load_upscaler(settings, root, champion, {})(PHOTO, 3), restored)

    # what the server's admin does then, who alone frees the files
    command = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", postgres.url("mlflow")]
    command += ["--run-ids", scene.lost_run, "--tracking-uri", os.environ["MLFLOW_TRACKING_URI"]]
    freed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert freed.returncode == 0, freed.stderr
    np.testing.assert_array_equal(load_upscaler(settings, root, champion, {})(PHOTO, 3), restored)
    again = scene.gc("cleaner", "--delete", "--yes")
    assert (again.returncode, json.loads(again.stdout)["things"]) == (0, []), again.stderr
