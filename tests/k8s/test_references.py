"""What a manifest names exists, and what selects finds."""

from typing import Any

import pytest

from tests.k8s.manifests import OVERLAYS, Object, containers, of_kind, pod_templates, rendered, selects, walk

SECRETS = {
    "dp2o-postgres": {"postgres-password", "prefect-password", "mlflow-password"},
    "dp2o-s3": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    "dp2o-s3-mlflow": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    "dp2o-prefect": {"auth-string"},
    "dp2o-mlflow-auth": {"admin-password", "flask-key"},
}
"""Secrets that docs/kubernetes.md says how to make, with their keys."""
PRODUCTION = {"dp2o-mlflow-auth"}
"""Those that the overlay `gpu` alone needs."""


def _references(overlay: str, key: str) -> list[tuple[str, Any]]:
    return [
        (path, value[key])
        for template in pod_templates(overlay).values()
        for path, value in walk(template)
        if isinstance(value, dict) and key in value
    ]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_selector_finds_its_pods(overlay: str) -> None:
    labels = {name: one["metadata"]["labels"] for name, one in pod_templates(overlay).items()}
    for service in of_kind(overlay, "Service").values():
        found = [name for name, held in labels.items() if selects({"matchLabels": service["spec"]["selector"]}, held)]
        assert len(found) == 1, service["metadata"]["name"]
        ports = {
            port["name"] for one in pod_templates(overlay)[found[0]]["spec"]["containers"] for port in one["ports"]
        }
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for kind in ("Deployment", "StatefulSet"):
        for name, one in of_kind(overlay, kind).items():
            assert selects(one["spec"]["selector"], labels[f"{kind}/{name}"]), name
    for name, budget in of_kind(overlay, "PodDisruptionBudget").items():
        assert [held for held in labels.values() if selects(budget["spec"]["selector"], held)], name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_server_has_a_disruption_budget(overlay: str) -> None:
    budgets = [one["spec"]["selector"] for one in of_kind(overlay, "PodDisruptionBudget").values()]
    for name, template in pod_templates(overlay).items():
        assert len([one for one in budgets if selects(one, template["metadata"]["labels"])]) == 1, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_named_objects_exist(overlay: str) -> None:
    accounts, priorities = of_kind(overlay, "ServiceAccount"), of_kind(overlay, "PriorityClass")
    for name, template in pod_templates(overlay).items():
        assert template["spec"]["serviceAccountName"] in accounts, name
        assert template["spec"]["priorityClassName"] in priorities, name
        volumes = {volume["name"] for volume in template["spec"].get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in _claims(overlay, name)}
        for container in containers(template["spec"]):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes, name
    maps = of_kind(overlay, "ConfigMap")
    for path, reference in _references(overlay, "configMapKeyRef"):
        if not reference.get("optional"):
            assert reference["key"] in maps[reference["name"]]["data"], path
    for path, reference in _references(overlay, "configMap"):
        assert reference["name"] in maps, path


def _claims(overlay: str, name: str) -> list[Object]:
    kind, _, name = name.partition("/")
    return of_kind(overlay, kind)[name]["spec"].get("volumeClaimTemplates", [])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_the_documented_ones(overlay: str) -> None:
    used = set()
    for path, reference in _references(overlay, "secretKeyRef"):
        assert reference["key"] in SECRETS[reference["name"]], path
        used.add(reference["name"])
    used |= {reference["name"] for _, reference in _references(overlay, "secretRef")}
    used |= {reference["secretName"] for _, reference in _references(overlay, "secret")}
    assert used == set(SECRETS) - (set() if overlay == "gpu" else PRODUCTION)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_settings_point_to_services_that_are_there(overlay: str) -> None:
    settings, services = of_kind(overlay, "ConfigMap")["dp2o-settings"]["data"], of_kind(overlay, "Service")
    for key in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        host, _, port = settings[key].removeprefix("http://").removesuffix("/api").partition(":")
        assert int(port) in {one["port"] for one in services[host]["spec"]["ports"]}, key


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_servers_fit_into_the_quota(overlay: str) -> None:
    def bytes_of(quantity: str) -> float:
        units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
        return float(quantity[:-2]) * units[quantity[-2:]]

    hard = of_kind(overlay, "ResourceQuota")["dp2o"]["spec"]["hard"]
    needed = sum(
        bytes_of(container["resources"]["requests"]["memory"]) * one["spec"]["replicas"]
        for one in rendered(overlay)
        if one["kind"] in ("Deployment", "StatefulSet")
        for container in one["spec"]["template"]["spec"]["containers"]
    )
    assert needed < bytes_of(hard["requests.memory"]) / 4, "little would be left for stages"
