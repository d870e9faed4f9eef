"""The kubernetes launcher and what never starts."""

import time
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.parts.fake_api import Server
from benchmarks.parts.fake_cluster import FakeCluster
from flows.launchers import kubernetes as module
from flows.launchers.base import Failure, State
from flows.launchers.kubernetes import KubernetesLauncher
from tests.flows.launchers.simulated import NAME, WORK, Waiter, make, submitted


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        (403, "Forbidden", "jobs.batch is forbidden: exceeded quota: jobs"),
        (422, "Invalid", 'Job.batch "x" is invalid: spec.template'),
        (400, "BadRequest", "strict decoding error: unknown field"),
        (404, "NotFound", 'namespaces "dp2o" not found'),
    ],
)
def test_a_job_the_cluster_does_not_accept_is_rejected_in_its_words(
    cluster: FakeCluster, launcher: KubernetesLauncher, status: int, reason: str, message: str
) -> None:
    cluster.fail("POST", status, reason=reason, message=message)
    ended = launcher.wait(launcher.submit(WORK))
    assert (ended.failure, ended.detail) == (Failure.REJECTED, message)


def blocked(cluster: FakeCluster, reason: str, message: str) -> None:
    waiting = {"reason": reason, "message": message}
    cluster.pod(NAME, phase="Pending", containerStatuses=[{"name": "stage", "state": {"waiting": waiting}}])


def unschedulable(cluster: FakeCluster, message: str) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    cluster.pod(NAME, phase="Pending", conditions=[condition], scheduled=False)


def event(cluster: FakeCluster, name: str, kind: str, **more: Any) -> None:
    cluster.put("events", {"metadata": {"name": name}, "involvedObject": {"kind": kind, "name": NAME}, **more})


def test_an_image_that_cannot_be_pulled_has_a_grace_time_and_then_frees_its_gpu(
    cluster: FakeCluster, server: Server
) -> None:
    with make(server, image_grace=1) as launcher:
        waiter = submitted(launcher, cluster)
        event(cluster, "e", "Pod", reason="Failed", message='Failed to pull image "x": manifest unknown: no such tag')
        began = time.monotonic()
        for reason in ("ErrImagePull", "ImagePullBackOff") * 3:
            blocked(cluster, reason, "Back-off pulling image")
            time.sleep(0.1)
        ended = waiter.ended()
        assert 1.0 <= time.monotonic() - began < 4
        assert ended.failure is Failure.IMAGE_PULL
        assert "Back-off pulling image" in ended.detail
        assert "manifest unknown: no such tag" in ended.detail
        assert cluster.objects["jobs"] == {}


def test_an_image_that_comes_in_time_is_no_failure(cluster: FakeCluster, server: Server) -> None:
    with make(server, image_grace=1) as launcher:
        waiter = submitted(launcher, cluster)
        blocked(cluster, "ErrImagePull", "registry is away")
        time.sleep(0.6)
        cluster.run(NAME)
        time.sleep(0.8)
        cluster.finish(NAME)
        assert waiter.ended().state is State.SUCCEEDED


def test_unschedulable_has_a_grace_time(cluster: FakeCluster, server: Server) -> None:
    with make(server, unschedulable_grace=1) as launcher:
        waiter = submitted(launcher, cluster)
        unschedulable(cluster, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
        ended = waiter.ended()
        assert (ended.failure, ended.detail) == (
            Failure.UNSCHEDULABLE,
            "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        )
        assert cluster.objects["jobs"] == {}


def test_a_gpu_that_others_have_is_a_queue_with_its_own_timeout(cluster: FakeCluster, server: Server) -> None:
    with make(server, unschedulable_grace=1, queue_timeout=4) as launcher:
        holder = replace(WORK, shard="holder")
        cluster.run(launcher.submit(holder))
        waiter = submitted(launcher, cluster)
        unschedulable(cluster, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
        began = time.monotonic()
        ended = waiter.ended()
        assert 3 < time.monotonic() - began < 8
        assert ended.failure is Failure.QUEUE_TIMEOUT
        assert "it waited for 4 s; the last that was said: 0/1 nodes" in ended.detail


def test_a_newer_scheduler_says_itself_that_others_have_it(cluster: FakeCluster, server: Server) -> None:
    with make(server, unschedulable_grace=1, queue_timeout=2) as launcher:
        waiter = submitted(launcher, cluster)
        unschedulable(
            cluster, "1 Insufficient nvidia.com/gpu. preemption: 1 No preemption victims found for incoming pod"
        )
        assert waiter.ended().failure is Failure.QUEUE_TIMEOUT


def test_time_in_kueues_queue_counts_and_time_that_runs_does_not(cluster: FakeCluster, server: Server) -> None:
    with make(server, queue_timeout=1) as launcher:
        waiter = submitted(launcher, cluster)
        cluster.run(NAME)
        time.sleep(1.5)
        assert waiter.waits
        cluster.finish(NAME)
        assert waiter.ended().state is State.SUCCEEDED
        other = launcher.submit(replace(WORK, attempt=1))
        cluster.job(other, "Suspended", suspend=True)
        assert Waiter(launcher, other).ended().failure is Failure.QUEUE_TIMEOUT


@pytest.mark.parametrize(
    ("used", "limit", "failure"), [("0", "1", Failure.REJECTED), ("4", "4", Failure.QUEUE_TIMEOUT)]
)
def test_a_pod_that_may_not_be_made(
    cluster: FakeCluster, server: Server, monkeypatch: pytest.MonkeyPatch, used: str, limit: str, failure: Failure
) -> None:
    monkeypatch.setattr(module, "POD_EXPECTED", 0.2)
    monkeypatch.setattr(module, "ASK_AGAIN", 0.3)
    message = (
        'Error creating: pods "x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=2, '
        f"used: requests.nvidia.com/gpu={used}, limited: requests.nvidia.com/gpu={limit}"
    )
    with make(server, queue_timeout=2) as launcher:
        waiter = submitted(launcher, cluster)
        event(cluster, "e", "Job", reason="FailedCreate", message=message)
        ended = waiter.ended()
        assert ended.failure is failure
        assert message in ended.detail
