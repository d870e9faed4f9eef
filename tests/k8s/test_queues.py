"""Kueue's queues and the namespace's limits fit together: what a limit gives to a pod, a queue must know.

Kueue admits a workload only if its queue covers every resource of its pods, and pods have more than their manifest
says: what the API server fills in from a LimitRange counts as well.
"""

import pytest
from kubernetes.utils.quantity import parse_quantity

from flows.launchers.base import Work
from flows.launchers.job_template import job_for, read_template
from flows.launchers.settings import KubernetesSettings
from tests.k8s.manifests import OVERLAYS, ROOT, Object, containers, of_kind

GPU = "nvidia.com/gpu"
WITH_QUEUES = [overlay for overlay in OVERLAYS if overlay == "gpu"]


def filled_in(overlay: str) -> dict[str, str]:
    """What a container of the namespace requests that names nothing itself.

    As the API server completes a LimitRange (kubernetes/pkg/apis/core/v1/defaults.go): a maximum is the default limit
    where none is given, a default limit the default request, and a minimum is that where there is neither.
    """
    requests: dict[str, str] = {}
    for one in of_kind(overlay, "LimitRange").values():
        for item in one["spec"]["limits"]:
            if item["type"] == "Container":
                limits = item.get("max", {}) | item.get("default", {})
                requests |= item.get("min", {}) | limits | item.get("defaultRequest", {})
    return requests


def requested(job: Object, overlay: str) -> set[str]:
    """Resources of a Job's pods, as Kueue sees them."""
    names: set[str] = set(filled_in(overlay))
    for container in containers(job["spec"]["template"]["spec"]):
        given = container.get("resources", {})
        names |= given.get("requests", {}).keys() | given.get("limits", {}).keys()
    return names | job["spec"]["template"]["spec"].get("overhead", {}).keys()


def jobs() -> list[Object]:
    """Every kind of Job that the launcher makes of the templates that come with k8s/."""
    made = []
    for path in sorted((ROOT / "k8s").glob("*-job.yaml")):
        settings = KubernetesSettings(image="image", job_template=path, queue="dp2o")
        for gpus, nodes in ((0, 1), (8, 1), (8, 2)):
            work = Work("run", "train", "whole", 0, ("components.train",), gpus, nodes=nodes)
            made.append(job_for(work, read_template(path), settings, "launcher"))
    return made


def test_these_overlays_have_queues() -> None:
    assert [overlay for overlay in OVERLAYS if of_kind(overlay, "ClusterQueue")] == WITH_QUEUES


@pytest.mark.parametrize("overlay", WITH_QUEUES)
def test_queues_cover_every_resource_that_a_job_can_have(overlay: str) -> None:
    assert jobs()
    for name, queue in of_kind(overlay, "ClusterQueue").items():
        covered = {one for group in queue["spec"]["resourceGroups"] for one in group["coveredResources"]}
        for job in jobs():
            assert requested(job, overlay) <= covered, f"{name} of {overlay} admits no such Job"


@pytest.mark.parametrize("overlay", WITH_QUEUES)
def test_one_job_of_the_usual_size_fits_a_flavor_that_is_for_it(overlay: str) -> None:
    for queue in of_kind(overlay, "ClusterQueue").values():
        (group,) = queue["spec"]["resourceGroups"]
        for job in jobs():
            (container,) = job["spec"]["template"]["spec"]["containers"]
            wanted = filled_in(overlay) | container["resources"]["requests"]
            pods = job["spec"]["parallelism"]
            assert any(
                all(
                    pods * parse_quantity(wanted.get(quota["name"], "0")) <= parse_quantity(quota["nominalQuota"])
                    for quota in flavor["resources"]
                )
                for flavor in group["flavors"]
            ), wanted


@pytest.mark.parametrize("overlay", WITH_QUEUES)
def test_a_queue_has_no_more_than_the_namespace(overlay: str) -> None:
    hard = of_kind(overlay, "ResourceQuota")["dp2o"]["spec"]["hard"]
    for queue in of_kind(overlay, "ClusterQueue").values():
        for group in queue["spec"]["resourceGroups"]:
            for name in group["coveredResources"]:
                quotas = [one["nominalQuota"] for flavor in group["flavors"] for one in flavor["resources"]
                          if one["name"] == name]  # fmt: skip
                assert sum(map(parse_quantity, quotas)) <= parse_quantity(hard[f"requests.{name}"]), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nobody_gets_a_gpu_unasked(overlay: str) -> None:
    assert GPU not in filled_in(overlay)
