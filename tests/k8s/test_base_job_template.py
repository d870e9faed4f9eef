"""Our base job template, filled in by Prefect's own worker classes, is a strictly valid Job; Prefect's is not."""

import asyncio
import copy
import json
from typing import Any
from uuid import uuid4

import jsonschema
import kubernetes_validate
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.utilities.templating import find_placeholders
from prefect_kubernetes.worker import KubernetesWorker, KubernetesWorkerJobConfiguration

from tests.k8s.manifests import ROOT, Object, of_kind
from tests.k8s.test_references import SECRETS
from tests.k8s.test_schemas import NEWEST, OLDEST
from tests.k8s.test_security import assert_restricted

TEMPLATE = json.loads((ROOT / "k8s" / "prefect-base-job-template.json").read_text())
OPTIONAL_SECRETS = {"dp2o-mlflow", "dp2o-git", "dp2o-s3-flow", "dp2o-run"}


def filled(template: Object, **chosen: Any) -> Object:
    """The Job that the worker would submit for a flow run."""
    client = PrefectClient("http://127.0.0.1:9/api")  # is asked for blocks alone, and there are none
    configuration = asyncio.run(
        KubernetesWorkerJobConfiguration.from_template_and_values(copy.deepcopy(template), chosen, client=client)
    )
    configuration.prepare_for_flow_run(FlowRun(id=uuid4(), flow_id=uuid4(), name="brave-heron"))
    return configuration.job_manifest


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {
            "image": "registry.example.com/dp2o/flow@sha256:" + "0" * 64,
            "env": {"A": "1"},
            "labels": {"team": "sr"},
            "annotations": {"note": "x"},
            "node_selector": {"pool": "services"},
            "tolerations": [{"key": "spot", "operator": "Exists"}],
            "backoff_limit": 2,
            "command": "python -m flows.align",
            "name": "align",
        },
    ],
    ids=["defaults", "all chosen"],
)
def test_is_a_strictly_valid_job(chosen: dict[str, Any], version: str) -> None:
    job = filled(TEMPLATE, **chosen)
    assert not find_placeholders(job)
    kubernetes_validate.validate(copy.deepcopy(job), version, strict=True)


def test_prefects_default_is_not() -> None:
    """The reason for having our own; when this fails, Prefect has mended it."""
    job = filled(KubernetesWorker.get_default_base_job_template(), image="prefect")
    with pytest.raises(kubernetes_validate.ValidationError, match=r"parallelism|completions"):
        kubernetes_validate.validate(job, OLDEST, strict=True)


def test_choices_arrive_where_they_belong() -> None:
    job = filled(
        TEMPLATE,
        node_selector={"pool": "services"},
        tolerations=[{"key": "spot", "operator": "Exists"}],
        memory_limit="3Gi",
        run_timeout_seconds=77,
        env={"A": "1"},
        command="python -m flows.align",
    )
    pod = job["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "services"}
    assert pod["tolerations"] == [{"key": "spot", "operator": "Exists"}]
    assert job["spec"]["activeDeadlineSeconds"] == 77
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["memory"] == "3Gi"
    assert container["args"] == ["python", "-m", "flows.align"]
    assert {"name": "A", "value": "1"} in container["env"]


def test_always_has_a_deadline_an_end_and_its_role() -> None:
    job = filled(TEMPLATE)
    assert job["spec"]["activeDeadlineSeconds"] > 0
    assert job["spec"]["ttlSecondsAfterFinished"] >= 0
    assert job["spec"]["template"]["metadata"]["labels"]["dp2o.dev/role"] == "flow"  # network policies know it by this
    assert job["metadata"]["namespace"] == "dp2o"


def test_kubernetes_makes_a_disrupted_flows_pod_again_and_prefect_leaves_the_run_to_it() -> None:
    for chosen in ({}, {"backoff_limit": 1}):
        job = filled(TEMPLATE, **chosen)
        assert job["spec"]["backoffLimit"] == chosen.get("backoff_limit", 3)
        rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
        assert job["spec"]["podFailurePolicy"] == {"rules": [rule]}
        assert job["spec"]["podReplacementPolicy"] == "Failed"  # never two pods of a run
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert {"name": "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR", "value": "relinquish"} in container["env"]


def test_runs_restricted_with_the_flows_account() -> None:
    pod = filled(TEMPLATE)["spec"]["template"]["spec"]
    assert_restricted(pod)
    assert pod["serviceAccountName"] in of_kind("gpu", "ServiceAccount")
    assert pod["priorityClassName"] in of_kind("gpu", "PriorityClass")
    assert pod["automountServiceAccountToken"] is True  # the account itself does not mount it


def test_secrets_and_settings_are_references_that_exist() -> None:
    (container,) = filled(TEMPLATE)["spec"]["template"]["spec"]["containers"]
    for source in container["envFrom"]:
        if "secretRef" in source:
            name = source["secretRef"]["name"]
            assert name in SECRETS if not source["secretRef"].get("optional") else name in OPTIONAL_SECRETS
        else:
            assert source["configMapRef"]["name"] in of_kind("gpu", "ConfigMap")
    volumes = {volume["name"] for volume in filled(TEMPLATE)["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_every_variable_explains_itself_and_its_default_is_allowed() -> None:
    used = {placeholder.name for placeholder in find_placeholders(TEMPLATE["job_configuration"])}
    properties = TEMPLATE["variables"]["properties"]
    assert used == set(properties)
    for name, variable in properties.items():
        assert variable["title"], name
        assert variable["description"].endswith("."), name
        jsonschema.validate(variable["default"], variable)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_limit", "lots"),
        ("run_timeout_seconds", 0),
        ("backoff_limit", 0),  # Prefect would schedule the run anew, while Kubernetes makes its pod again
        ("image", ""),
        ("namespace", "Not/A/Name"),
        ("env", {"A": 1}),
    ],
)
def test_bad_choices_are_refused_by_the_schema(name: str, value: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({name: value}, TEMPLATE["variables"])
