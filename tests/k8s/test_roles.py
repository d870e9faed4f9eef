"""Which pod is given which Secret: nobody has another's credentials, as far as manifests say."""

from pathlib import Path
from typing import Any

import pytest

from flows.launchers.base import Work
from flows.launchers.job_template import job_for, read_template
from flows.launchers.settings import KubernetesSettings
from tests.k8s.manifests import ROOT, Object, containers, pod_templates, walk
from tests.k8s.test_base_job_template import TEMPLATE, filled

STAGES_S3, FLOWS_S3, MLFLOWS_S3 = "dp2o-s3", "dp2o-s3-flow", "dp2o-s3-mlflow"
PROMOTER, RUN, GIT = "dp2o-promoter", "dp2o-run", "dp2o-git"


def secrets_of(template: Object) -> list[str]:
    """Secrets that any container of a pod gets, in the order in which later ones win."""
    found: list[str] = []
    for _, value in walk(template):
        if isinstance(value, dict):
            found += [value[key]["name"] for key in ("secretRef", "secretKeyRef") if key in value]
            found += [value["secretName"]] if "secretName" in value else []
    return found


def job(**more: Any) -> Object:
    settings = KubernetesSettings(image="image", job_template=ROOT / "k8s/stage-job.yaml")
    work = Work("run", "register", "whole", 0, ("components.register",), **more)
    pod: Object = job_for(work, read_template(Path(settings.job_template)), settings, "launcher")["spec"]["template"]
    return pod


def test_a_stage_has_its_own_alone() -> None:
    assert secrets_of(job()) == [STAGES_S3, "dp2o-mlflow"]


def test_the_gates_work_has_a_promoters_last() -> None:
    assert secrets_of(job(promotes=True)) == [STAGES_S3, "dp2o-mlflow", PROMOTER]


def test_a_flow_has_its_own_and_no_promoters() -> None:
    given = secrets_of(filled(TEMPLATE)["spec"]["template"])
    assert given.index(FLOWS_S3) > given.index(STAGES_S3)
    assert {GIT, RUN} <= set(given)
    assert PROMOTER not in given
    assert MLFLOWS_S3 not in given


@pytest.mark.parametrize("overlay", ["local", "gpu"])
def test_servers_have_theirs(overlay: str) -> None:
    templates = pod_templates(overlay)
    given = {name: secrets_of(one) for name, one in templates.items()}
    mlflow = given["Deployment/dp2o-mlflow"]
    assert mlflow.index(MLFLOWS_S3) > mlflow.index(STAGES_S3)
    for name, names in given.items():
        assert not {PROMOTER, RUN, GIT, FLOWS_S3} & set(names), name
        if name != "Deployment/dp2o-mlflow":
            assert not [one for one in names if one.startswith("dp2o-s3")], name


def test_production_asks_who_one_is() -> None:
    mlflow, prefect = (pod_templates("gpu")[f"Deployment/dp2o-{name}"]["spec"] for name in ("mlflow", "prefect"))
    (server,) = [one for one in containers(mlflow) if one["name"] == "mlflow"]
    assert server["command"][-2:] == ["--app-name", "basic-auth"]
    (server,) = [one for one in containers(prefect) if one["name"] == "prefect"]
    wanted = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in server["env"] if "valueFrom" in one}
    assert not wanted["PREFECT_SERVER_API_AUTH_STRING"].get("optional")


def test_what_a_run_gives_its_work_is_of_that_pod_alone() -> None:
    env = job(secrets={"DP2O_RESULT_KEY": "x"}, environment={"A": "1"})["spec"]["containers"][0]["env"]
    assert {"name": "DP2O_RESULT_KEY", "value": "x"} in env
    assert "DP2O_RUN_KEY" not in {one["name"] for one in env}
