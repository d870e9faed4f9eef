"""Nothing talks to anything, except what is listed here."""

import pytest

from tests.k8s.manifests import OVERLAYS, Object, of_kind, pod_templates, selects

FLOW = {"dp2o.dev/role": "flow"}
GENERATE = {"dp2o.dev/stage": "generate", "app.kubernetes.io/part-of": "dp2o"}
TRAIN = {"dp2o.dev/stage": "train", "app.kubernetes.io/part-of": "dp2o"}


def _policies(overlay: str, labels: dict[str, str], direction: str) -> list[Object]:
    return [
        one["spec"]
        for one in of_kind(overlay, "NetworkPolicy").values()
        if direction in one["spec"]["policyTypes"] and selects(one["spec"]["podSelector"], labels)
    ]


def _reaches(overlay: str, source: dict[str, str], target: dict[str, str], port: int) -> bool:
    """Whether a pod may open a connection to another one: both of them must allow it."""

    def opens(rules: list[Object], side: str, peer: dict[str, str]) -> bool:
        return any(
            (not rule.get("ports") or port in {one["port"] for one in rule["ports"]})
            and any("podSelector" in end and selects(end["podSelector"], peer) for end in rule[side])
            for rule in rules
        )

    egress = [rule for policy in _policies(overlay, source, "Egress") for rule in policy.get("egress", [])]
    ingress = [rule for policy in _policies(overlay, target, "Ingress") for rule in policy.get("ingress", [])]
    return opens(egress, "to", target) and opens(ingress, "from", source)


def _outside(overlay: str, source: dict[str, str]) -> set[int]:
    """Ports at which a pod may call addresses outside the cluster."""
    return {
        port["port"]
        for policy in _policies(overlay, source, "Egress")
        for rule in policy.get("egress", [])
        if any("ipBlock" in end for end in rule["to"])
        for port in rule["ports"]
    }


def _pods(overlay: str) -> dict[str, dict[str, str]]:
    servers = {name.rpartition("dp2o-")[2]: one["metadata"]["labels"] for name, one in pod_templates(overlay).items()}
    return servers | {"flow": FLOW, "generate": GENERATE, "train": TRAIN}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_is_denied_first(overlay: str) -> None:
    spec = of_kind(overlay, "NetworkPolicy")["default-deny"]["spec"]
    assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_connections_between_pods_are_these(overlay: str) -> None:
    pods, ports = _pods(overlay), (5432, 4200, 5000, 8080, 29500)
    found = {
        (source, target, port)
        for source in pods
        for target in pods
        for port in ports
        if _reaches(overlay, pods[source], pods[target], port)
    }
    assert found == {
        ("prefect", "postgres", 5432),
        ("mlflow", "postgres", 5432),
        ("worker", "prefect", 4200),
        ("flow", "prefect", 4200),
        ("flow", "mlflow", 5000),
        ("generate", "mlflow", 5000),
        ("train", "mlflow", 5000),
        *(("train", "train", port) for port in ports),  # several nodes of one training
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_calls_out_of_the_cluster_are_these(overlay: str) -> None:
    store = {443, 9000} if overlay == "local" else {443}
    assert {name: _outside(overlay, labels) for name, labels in _pods(overlay).items()} == {
        "postgres": set(),
        "prefect": set(),
        "worker": {443, 6443},
        "mlflow": store,
        "flow": store | {6443, 22},
        "generate": store,
        "train": store,
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_has_a_policy_of_its_own_beside_the_denial(overlay: str) -> None:
    for name, labels in _pods(overlay).items():
        own = [
            policy
            for policy, one in of_kind(overlay, "NetworkPolicy").items()
            if one["spec"]["podSelector"] and selects(one["spec"]["podSelector"], labels)
        ]
        assert own, name
