"""The overlays as kustomize renders them, and ways to walk through them."""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ("local", "gpu")
CLUSTER_SCOPED = {"Namespace", "PriorityClass", "ClusterQueue", "ResourceFlavor"}

Object = dict[str, Any]


def kustomize() -> list[str]:
    """The command that renders a folder: kustomize itself, or a kubectl that brings version 5."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    if shutil.which("kubectl"):
        version = subprocess.run(
            ["kubectl", "version", "--client"], capture_output=True, text=True, check=False, timeout=300
        ).stdout
        if "Kustomize Version: v5" in version:
            return ["kubectl", "kustomize"]
    reason = "neither kustomize nor a kubectl that brings its version 5 is installed: manifests are NOT checked"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@functools.cache
def rendered(overlay: str) -> tuple[Object, ...]:
    """Every object of an overlay."""
    command = [*kustomize(), str(ROOT / "k8s" / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


def of_kind(overlay: str, kind: str) -> dict[str, Object]:
    """Objects of one kind by name."""
    return {one["metadata"]["name"]: one for one in rendered(overlay) if one["kind"] == kind}


def pod_templates(overlay: str) -> dict[str, Object]:
    """Pod templates of an overlay's workloads by `Kind/name`."""
    return {
        f"{one['kind']}/{one['metadata']['name']}": one["spec"]["template"]
        for one in rendered(overlay)
        if one["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job")
    }


def containers(spec: Object) -> list[Object]:
    """Containers of a pod spec, those of its start included."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def walk(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a document with its path."""
    yield path, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from walk(value, f"{path}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from walk(value, f"{path}/{index}")


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", []):
        held, values = rule["key"] in labels, rule.get("values", [])
        taken = {
            "Exists": held,
            "DoesNotExist": not held,
            "In": labels.get(rule["key"]) in values,
            "NotIn": labels.get(rule["key"]) not in values,
        }[rule["operator"]]
        if not taken:
            return False
    return True
