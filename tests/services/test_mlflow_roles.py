"""Each role has its own MLflow user with the rights of docs/kubernetes.md, and is refused what is another's."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.server import get_app_client

from components.registry.history import SUFFIX
from tests.services.servers import Mlflow

EDIT, MANAGE = "EDIT", "MANAGE"
RIGHTS: dict[str, dict[str, str]] = {
    "stages": {"training": EDIT, "candidates": EDIT},
    "flow": {},
    "promoter": {"candidates": EDIT, "production": EDIT, "history": EDIT, "promoted": EDIT},
    "monitor": {"watched": EDIT},
    "cleaner": {"training": MANAGE, "candidates": MANAGE, "production": MANAGE, "promoted": MANAGE},
}
"""By role, what it is granted beside READ, which everybody has."""
EXPERIMENTS = {"training": "", "promoted": "-promoted", "watched": "-monitor"}
MODELS = {"candidates": "-dev", "production": "", "history": SUFFIX}


@dataclass(frozen=True)
class Registry:
    """Experiments, and models of one version each, that the admin made; `become` makes this process a role."""

    name: str
    experiments: dict[str, str]
    runs: dict[str, str]
    become: Callable[[str], None]

    def may(self, work: str) -> set[str]:
        """In which experiments and models whoever we are may do that `work`."""
        client = mlflow.MlflowClient()
        models = {what: f"{self.name}{ending}" for what, ending in MODELS.items()}
        runs, places = self.runs.items(), self.experiments.items()
        tried: dict[str, dict[str, Callable[[], Any]]] = {
            "read": {one: partial(client.get_run, run) for one, run in runs}
            | {one: partial(client.get_model_version, name, "1") for one, name in models.items()},
            "write": {one: partial(client.create_run, place) for one, place in places}
            | {one: partial(client.set_model_version_tag, name, "1", "by", "it") for one, name in models.items()},
            "point": {
                one: partial(client.set_registered_model_alias, name, "champion", "1") for one, name in models.items()
            },
            "delete": {one: partial(client.delete_run, run) for one, run in runs}
            | {one: partial(client.delete_model_version, name, "1") for one, name in models.items()},
        }
        return {what for what, call in tried[work].items() if allowed(call)}


def allowed(call: Callable[[], Any]) -> bool:
    try:
        call()
    except MlflowException as error:
        if error.get_http_status_code() != 403:
            raise
        return False
    return True


@pytest.fixture
def registry(mlflow_server: Mlflow, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    def be(user: str, password: str | None = None) -> None:
        for key, value in mlflow_server.environment(user, password).items():
            monkeypatch.setenv(key, value)

    be("admin")
    mlflow.set_tracking_uri(mlflow_server.url)
    client, users = mlflow.MlflowClient(), get_app_client("basic-auth", tracking_uri=mlflow_server.url)
    name = f"roles-{secrets.token_hex(3)}"
    experiments = {what: client.create_experiment(f"{name}{ending}") for what, ending in EXPERIMENTS.items()}
    runs = {what: client.create_run(id).info.run_id for what, id in experiments.items()}
    for ending in MODELS.values():
        client.create_registered_model(f"{name}{ending}")
        run = client.get_run(runs["training"])
        client.create_model_version(f"{name}{ending}", f"{run.info.artifact_uri}/model", run.info.run_id)

    def become(role: str) -> None:
        user, password = f"{role}-{secrets.token_hex(3)}", secrets.token_hex(12)
        users.create_user(user, password)
        for what, right in RIGHTS[role].items():
            kind, place = (
                ("experiment", experiments[what])
                if what in experiments
                else ("registered_model", f"{name}{MODELS[what]}")
            )
            users.grant_user_permission(user, kind, place, right)
        be(user, password)

    yield Registry(name, experiments, runs, become)
    be("admin")


@pytest.mark.parametrize("role", RIGHTS)
def test_a_role_may_do_its_work_and_is_refused_what_is_anothers(role: str, registry: Registry) -> None:
    registry.become(role)
    everything, granted = {*EXPERIMENTS, *MODELS}, set(RIGHTS[role])
    assert registry.may("read") == everything
    assert registry.may("write") == granted
    assert registry.may("point") == granted & set(MODELS)
    assert registry.may("delete") == {what for what in granted if RIGHTS[role][what] == MANAGE}
