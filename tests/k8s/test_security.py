"""Every pod runs with nothing it does not need, and every secret is a reference."""

import re

import pytest
import yaml

from tests.k8s.manifests import OVERLAYS, ROOT, Object, containers, of_kind, pod_templates, rendered, walk

PODS = [
    (overlay, name)
    for overlay in OVERLAYS
    for name in (
        "Deployment/dp2o-mlflow",
        "Deployment/dp2o-prefect",
        "Deployment/dp2o-worker",
        "StatefulSet/dp2o-postgres",
    )
]
WITH_TOKEN = {"Deployment/dp2o-worker"}


def assert_restricted(spec: Object) -> None:
    """Pod security's `restricted`, and a read-only root on top."""
    pod = spec["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] >= 999
    assert pod["runAsGroup"] >= 999
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(spec)
    assert spec["enableServiceLinks"] is False
    for container in containers(spec):
        context = container["securityContext"]
        assert context == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, container["name"]
        assert not any("hostPort" in port for port in container.get("ports", []))
    allowed = {"name", "emptyDir", "configMap", "secret", "persistentVolumeClaim"}
    for volume in spec.get("volumes", []):
        assert set(volume) <= allowed, volume
        if "emptyDir" in volume:
            assert "sizeLimit" in volume["emptyDir"], f"{volume['name']} could fill the node's disk"


def test_the_list_of_pods_is_complete() -> None:
    assert set(PODS) == {(overlay, name) for overlay in OVERLAYS for name in pod_templates(overlay)}


@pytest.mark.parametrize(("overlay", "name"), PODS)
def test_runs_restricted(overlay: str, name: str) -> None:
    assert_restricted(pod_templates(overlay)[name]["spec"])


@pytest.mark.parametrize(("overlay", "name"), PODS)
def test_only_the_worker_has_a_token(overlay: str, name: str) -> None:
    spec = pod_templates(overlay)[name]["spec"]
    assert spec["automountServiceAccountToken"] is (name in WITH_TOKEN)
    assert spec["serviceAccountName"] != "default"


@pytest.mark.parametrize(("overlay", "name"), PODS)
def test_resources_are_bounded(overlay: str, name: str) -> None:
    for container in containers(pod_templates(overlay)[name]["spec"]):
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert {"cpu", "memory", "ephemeral-storage"} <= set(requests)
        assert {"memory", "ephemeral-storage"} <= set(limits)
        assert "cpu" not in limits, "a CPU limit slows a server down while cores are idle"


@pytest.mark.parametrize(("overlay", "name"), PODS)
def test_has_all_three_probes(overlay: str, name: str) -> None:
    for container in pod_templates(overlay)[name]["spec"]["containers"]:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert probe in container, f"{container['name']} has no {probe}"
            handler = container[probe].get("httpGet", {})
            if "port" in handler:
                assert handler["port"] in {port["name"] for port in container["ports"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_is_in_the_manifests(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")
    secret = re.compile(r"PASSWORD|SECRET_(ACCESS_)?KEY$|TOKEN|AUTH_STRING|ACCESS_KEY_ID")
    for one in rendered(overlay):
        for path, value in walk(one):
            if isinstance(value, dict) and secret.search(str(value.get("name", ""))) and "value" in value:
                # names of Secrets, and files they are mounted as, are references
                assert str(value["name"]).endswith(("_SECRET_NAME", "_SECRET_KEY", "_FILE")), f"{path}: {value['name']}"
            if isinstance(value, str):
                assert not re.search(r"://[^/@\s]+:[^/@\s]+@", value), f"{path} has a password in a URL"
        if one["kind"] == "ConfigMap":
            assert not [key for key in one["data"] if secret.search(key)]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_enforces_the_same(overlay: str) -> None:
    labels = of_kind(overlay, "Namespace")["dp2o"]["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}


def _images(overlay: str) -> set[str]:
    return {container["image"] for one in pod_templates(overlay).values() for container in containers(one["spec"])}


def test_images_of_production_are_digests() -> None:
    images = _images("gpu") | {of_kind("gpu", "ConfigMap")["dp2o-settings"]["data"]["DP2O_COMPONENTS_IMAGE"]}
    for image in images:
        assert re.fullmatch(r"[a-z0-9.-]+(/[a-z0-9._-]+)+@sha256:[0-9a-f]{64}", image), image


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_image_is_whatever_is_newest(overlay: str) -> None:
    for image in _images(overlay):
        assert "@sha256:" in image or re.search(r":(?!latest$)[\w.-]+$", image), image


@pytest.mark.parametrize("name", ["stage-job.yaml", "prefect-base-job-template.json"])
def test_no_pod_that_is_made_at_run_time_can_fill_a_node_s_disk(name: str) -> None:
    template = yaml.safe_load((ROOT / "k8s" / name).read_text())
    folders = [value["emptyDir"] for _, value in walk(template) if isinstance(value, dict) and "emptyDir" in value]
    assert len(folders) >= 2
    assert all(folder.get("sizeLimit") for folder in folders)
