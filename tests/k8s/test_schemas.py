"""Every rendered manifest against Kubernetes' own schemas, unknown fields refused."""

import copy
import os
import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import all_versions
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from flows.launchers.base import Work
from flows.launchers.job_template import SERVICE, job_for, read_template
from flows.launchers.settings import KubernetesSettings
from tests.k8s.manifests import CLUSTER_SCOPED, OVERLAYS, ROOT, Object, kustomize, of_kind, rendered, selects
from tests.k8s.test_security import assert_restricted

OLDEST = "1.31"
NEWEST = ".".join(all_versions()[-1].split(".")[:2])
KUEUE = "kueue.x-k8s.io/v1beta2"


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_is_valid_strictly(overlay: str, version: str) -> None:
    checked = 0
    for document in rendered(overlay):
        if document["apiVersion"] == KUEUE:
            continue  # kubernetes-validate has no schema of it; below
        kubernetes_validate.validate(copy.deepcopy(document), version, strict=True)
        checked += 1
    assert checked > 30


def test_an_unknown_field_is_refused() -> None:
    broken = copy.deepcopy(of_kind("local", "Deployment")["dp2o-prefect"])
    broken["spec"]["template"]["spec"]["containers"][0]["readOnly"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="readOnly"):
        kubernetes_validate.validate(broken, OLDEST, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_cluster_wide_objects_have_no_namespace(overlay: str) -> None:
    for one in rendered(overlay):
        expected = None if one["kind"] in CLUSTER_SCOPED else "dp2o"
        assert one["metadata"].get("namespace") == expected, f"{one['kind']}/{one['metadata']['name']}"


# The fields of Kueue's v1beta2 that we use, written down by hand from its custom resource definitions: no package has a
# schema of them.
class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class _Quota(_Strict):
    name: str
    nominal_quota: str = Field(pattern=r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")


class _Flavor(_Strict):
    name: str
    resources: list[_Quota]


class _Group(_Strict):
    covered_resources: list[str] = Field(min_length=1, max_length=64)
    flavors: list[_Flavor] = Field(min_length=1, max_length=64)


class _Preemption(_Strict):
    within_cluster_queue: str = Field(pattern="^(Never|LowerPriority|LowerOrNewerEqualPriority)$")


class _Selector(_Strict):
    match_labels: dict[str, str]


class ClusterQueueSpec(_Strict):
    namespace_selector: _Selector
    queueing_strategy: str = Field(pattern="^(StrictFIFO|BestEffortFIFO)$")
    preemption: _Preemption
    resource_groups: list[_Group] = Field(max_length=16)


class LocalQueueSpec(_Strict):
    cluster_queue: str


class _Toleration(_Strict):
    key: str
    operator: str = Field(pattern="^(Exists|Equal)$")
    effect: str = Field(pattern="^(NoSchedule|PreferNoSchedule|NoExecute)$")


class ResourceFlavorSpec(_Strict):
    node_labels: dict[str, str] = Field(default={}, max_length=8)
    tolerations: list[_Toleration] = Field(default=[], max_length=8)


SPECS = {"ClusterQueue": ClusterQueueSpec, "LocalQueue": LocalQueueSpec, "ResourceFlavor": ResourceFlavorSpec}


def _queue_objects() -> list[Object]:
    return [one for one in rendered("gpu") if one["apiVersion"] == KUEUE]


def test_queue_objects_have_only_known_fields() -> None:
    found = _queue_objects()
    assert {one["kind"] for one in found} == set(SPECS)
    for one in found:
        SPECS[one["kind"]].model_validate(one.get("spec", {}))
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", one["metadata"]["name"])


def test_an_unknown_field_of_a_queue_is_refused() -> None:
    with pytest.raises(ValidationError, match="borrowing"):
        LocalQueueSpec.model_validate({"clusterQueue": "dp2o", "borrowing": True})


def test_each_flavor_covers_the_groups_resources_in_their_order() -> None:
    flavors = of_kind("gpu", "ResourceFlavor")
    for group in of_kind("gpu", "ClusterQueue")["dp2o"]["spec"]["resourceGroups"]:
        for flavor in group["flavors"]:
            assert [resource["name"] for resource in flavor["resources"]] == group["coveredResources"]
            assert flavor["name"] in flavors


def test_a_job_without_gpu_goes_to_the_flavor_without() -> None:
    (group,) = of_kind("gpu", "ClusterQueue")["dp2o"]["spec"]["resourceGroups"]
    flavors = group["flavors"]
    quotas = {one["name"]: {part["name"]: part["nominalQuota"] for part in one["resources"]} for one in flavors}
    assert next(iter(quotas)) == "dp2o-cpu"  # the first that fits is taken
    assert quotas["dp2o-cpu"]["nvidia.com/gpu"] == "0"


def test_the_settings_name_the_queue_that_is_there() -> None:
    name = of_kind("gpu", "ConfigMap")["dp2o-settings"]["data"]["DP2O_QUEUE"]
    queue = of_kind("gpu", "LocalQueue")[name]
    assert queue["spec"]["clusterQueue"] in of_kind("gpu", "ClusterQueue")


def test_gpus_of_the_queue_fit_the_namespaces_quota() -> None:
    (group,) = of_kind("gpu", "ClusterQueue")["dp2o"]["spec"]["resourceGroups"]
    queued = sum(
        int(one["nominalQuota"]) for flavor in group["flavors"] for one in flavor["resources"] if "gpu" in one["name"]
    )
    assert queued == int(of_kind("gpu", "ResourceQuota")["dp2o"]["spec"]["hard"]["requests.nvidia.com/gpu"])


def _changed_by(option: str, folder: Path, overlay: str = "gpu") -> list[Object]:
    """Objects of an overlay that an option adds or changes."""
    k8s = os.path.relpath(ROOT / "k8s", folder.resolve())
    content = {"resources": [f"{k8s}/overlays/{overlay}"], "components": [f"{k8s}/options/{option}"]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    done = subprocess.run(
        [*kustomize(), str(folder.resolve())], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one not in rendered(overlay)]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("option", ["mlflow-auth", "prefect-auth"])
def test_an_overlay_with_an_option_is_valid(option: str, version: str, tmp_path: Path) -> None:
    changed = _changed_by(option, tmp_path, "local")
    assert not _changed_by(option, tmp_path)  # production has it
    assert [one["metadata"]["name"] for one in changed] == [f"dp2o-{option.removesuffix('-auth')}"]
    kubernetes_validate.validate(changed[0], version, strict=True)
    assert_restricted(changed[0]["spec"]["template"]["spec"])


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_service_of_training_on_several_nodes_names_its_pods(version: str, tmp_path: Path) -> None:
    (service,) = _changed_by("train-nodes", tmp_path)
    kubernetes_validate.validate(copy.deepcopy(service), version, strict=True)
    assert (service["metadata"]["name"], service["metadata"]["namespace"]) == (SERVICE, "dp2o")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    work = Work("run", "train", "whole", 0, ("components.train",), nodes=2)
    settings = KubernetesSettings(image="image", job_template=ROOT / "k8s/stage-job.yaml")
    job = job_for(work, read_template(settings.job_template), settings, "launcher")
    pod = job["spec"]["template"]
    assert pod["spec"]["subdomain"] == SERVICE
    assert selects({"matchLabels": service["spec"]["selector"]}, pod["metadata"]["labels"])


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_option_to_read_nodes_gives_that_and_nothing_else(version: str, tmp_path: Path) -> None:
    added = {one["kind"]: one for one in _changed_by("read-nodes", tmp_path)}
    assert set(added) == {"ClusterRole", "ClusterRoleBinding"}
    for one in added.values():
        kubernetes_validate.validate(copy.deepcopy(one), version, strict=True)
    assert added["ClusterRole"]["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]
    assert added["ClusterRoleBinding"]["subjects"] == [
        {"kind": "ServiceAccount", "name": "dp2o-flow", "namespace": "dp2o"}
    ]
