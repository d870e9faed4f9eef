"""The kubernetes launcher and what never starts."""

import time
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.parts.fake_api import Server
from benchmarks.parts.fake_cluster import FakeCluster
from flows.launchers import namespace, waiting
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
    outcome = launcher.wait(launcher.submit(WORK))
    assert (outcome.failure, outcome.detail) == (Failure.REJECTED, message)


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
        outcome = waiter.outcome()
        assert time.monotonic() - began >= 1.0
        assert outcome.failure is Failure.IMAGE_PULL
        assert "Back-off pulling image" in outcome.detail
        assert "manifest unknown: no such tag" in outcome.detail
        assert cluster.objects["jobs"] == {}


def test_an_image_that_comes_in_time_is_no_failure(cluster: FakeCluster, server: Server) -> None:
    with make(server, image_grace=1) as launcher:
        waiter = submitted(launcher, cluster)
        blocked(cluster, "ErrImagePull", "registry is away")
        time.sleep(0.6)
        cluster.run(NAME)
        time.sleep(0.8)
        cluster.finish(NAME)
        assert waiter.outcome().state is State.SUCCEEDED


def test_unschedulable_has_a_grace_time(cluster: FakeCluster, server: Server) -> None:
    with make(server, unschedulable_grace=1) as launcher:
        waiter = submitted(launcher, cluster)
        unschedulable(cluster, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
        outcome = waiter.outcome()
        assert (outcome.failure, outcome.detail) == (
            Failure.UNSCHEDULABLE,
            "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        )
        assert cluster.objects["jobs"] == {}


def test_a_gpu_that_others_have_is_a_queue_with_its_own_timeout(cluster: FakeCluster, server: Server) -> None:
    with make(server, unschedulable_grace=1, queue_timeout=4) as launcher:
        holder = replace(WORK, shard="holder")
        cluster.run(launcher.submit(holder))
        waiter = submitted(launcher, cluster)
        began = time.monotonic()
        unschedulable(cluster, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
        outcome = waiter.outcome()
        assert time.monotonic() - began > 3
        assert outcome.failure is Failure.QUEUE_TIMEOUT
        assert "it waited for 4 s; the last that was said: 0/1 nodes" in outcome.detail


def test_a_newer_scheduler_says_itself_that_others_have_it(cluster: FakeCluster, server: Server) -> None:
    with make(server, unschedulable_grace=1, queue_timeout=2) as launcher:
        waiter = submitted(launcher, cluster)
        unschedulable(
            cluster, "1 Insufficient nvidia.com/gpu. preemption: 1 No preemption victims found for incoming pod"
        )
        assert waiter.outcome().failure is Failure.QUEUE_TIMEOUT


def test_time_in_kueues_queue_counts_and_time_that_runs_does_not(cluster: FakeCluster, server: Server) -> None:
    with make(server, queue_timeout=1) as launcher:
        waiter = submitted(launcher, cluster)
        cluster.run(NAME)
        time.sleep(1.5)
        assert waiter.waits
        cluster.finish(NAME)
        assert waiter.outcome().state is State.SUCCEEDED
        other = launcher.submit(replace(WORK, attempt=1))
        cluster.job(other, "Suspended", suspend=True)
        assert Waiter(launcher, other).outcome().failure is Failure.QUEUE_TIMEOUT


@pytest.mark.parametrize(
    ("used", "limit", "failure"), [("0", "1", Failure.REJECTED), ("4", "4", Failure.QUEUE_TIMEOUT)]
)
def test_a_pod_that_may_not_be_made(
    cluster: FakeCluster, server: Server, impatient: None, used: str, limit: str, failure: Failure
) -> None:
    message = (
        'Error creating: pods "x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=2, '
        f"used: requests.nvidia.com/gpu={used}, limited: requests.nvidia.com/gpu={limit}"
    )
    with make(server, queue_timeout=2) as launcher:
        waiter = submitted(launcher, cluster)
        event(cluster, "e", "Job", reason="FailedCreate", message=message)
        outcome = waiter.outcome()
        assert outcome.failure is failure
        assert message in outcome.detail


# ---- Kueue


FULL = (
    "couldn't assign flavors to pod set main: insufficient quota for nvidia.com/gpu in flavor dp2o-cpu, request > "
    "maximum capacity (1 > 0), insufficient unused quota for nvidia.com/gpu in flavor dp2o-gpu, 1 more needed"
)
NOT_COVERED = "couldn't assign flavors to pod set main: resource ephemeral-storage unavailable in ClusterQueue"


def queued(cluster: FakeCluster, reason: str) -> None:
    """The Job waits for Kueue, which says why."""
    cluster.job(NAME, "Suspended", suspend=True)
    owner = {"kind": "Job", "name": NAME, "uid": cluster.objects["jobs"][NAME]["metadata"]["uid"]}
    condition = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": reason}
    for name, uid, told in (("other", "another", "of another Job"), ("job-x", owner["uid"], reason)):
        metadata = {"name": name, "ownerReferences": [{**owner, "uid": uid}]}
        cluster.put("workloads", {"metadata": metadata, "status": {"conditions": [{**condition, "message": told}]}})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POD_EXPECTED", 0.2)
    monkeypatch.setattr(namespace, "ASK_AGAIN", 0.3)


@pytest.mark.usefixtures("impatient")
def test_a_queue_that_is_full_is_waited_for_and_its_reason_is_told(cluster: FakeCluster, server: Server) -> None:
    with make(server, unschedulable_grace=1, queue_timeout=4) as launcher:
        waiter = submitted(launcher, cluster)
        queued(cluster, FULL)
        outcome = waiter.outcome()
        assert (outcome.failure, outcome.detail) == (
            Failure.QUEUE_TIMEOUT,
            f"it waited for 4 s; the last that was said: Kueue: {FULL}",
        )


@pytest.mark.usefixtures("impatient")
def test_a_job_that_no_queue_can_admit_is_named_within_its_grace_time(cluster: FakeCluster, server: Server) -> None:
    with make(server, unschedulable_grace=1, queue_timeout=60) as launcher:
        waiter = submitted(launcher, cluster)
        began = time.monotonic()
        queued(cluster, NOT_COVERED)
        outcome = waiter.outcome()
        assert time.monotonic() - began >= 1
        assert (outcome.failure, outcome.detail) == (Failure.UNSCHEDULABLE, f"Kueue: {NOT_COVERED}")
        assert cluster.objects["jobs"] == {}


@pytest.mark.usefixtures("impatient")
def test_a_queue_that_is_mended_in_time_is_no_failure(cluster: FakeCluster, server: Server) -> None:
    with make(server, unschedulable_grace=2, queue_timeout=60) as launcher:
        waiter = submitted(launcher, cluster)
        queued(cluster, NOT_COVERED)
        time.sleep(1.2)
        queued(cluster, FULL)
        time.sleep(1.5)
        assert waiter.waits
        cluster.job(NAME, "Suspended=False")
        cluster.finish(NAME)
        assert waiter.outcome().state is State.SUCCEEDED


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [403, 404])
def test_without_the_right_to_ask_kueue_a_job_waits_as_before(
    cluster: FakeCluster, server: Server, status: int
) -> None:
    cluster.fail("GET .*/workloads", status, times=1000)
    with make(server, unschedulable_grace=1, queue_timeout=3) as launcher:
        waiter = submitted(launcher, cluster)
        queued(cluster, NOT_COVERED)
        outcome = waiter.outcome()
        assert (outcome.failure, outcome.detail) == (Failure.QUEUE_TIMEOUT, "it waited for 3 s")


# ---- what no node has


OLD_SCHEDULER = (
    "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available: 1 No preemption "
    "victims found for incoming pod."
)


def node(cluster: FakeCluster, gpus: str) -> None:
    cluster.put("nodes", {"metadata": {"name": f"with-{gpus}"}, "status": {"allocatable": {"nvidia.com/gpu": gpus}}})


@pytest.mark.usefixtures("impatient")
def test_more_gpus_than_any_node_has_are_named_though_the_scheduler_does_not(
    cluster: FakeCluster, server: Server
) -> None:
    node(cluster, "4")
    node(cluster, "2")
    with make(server, unschedulable_grace=1, queue_timeout=60) as launcher:
        cluster.run(launcher.submit(replace(WORK, shard="holder")))  # nor does it help that others have some
        launcher.submit(replace(WORK, gpus=8))
        waiter = Waiter(launcher)
        unschedulable(cluster, OLD_SCHEDULER)
        outcome = waiter.outcome()
        assert outcome.failure is Failure.UNSCHEDULABLE
        assert outcome.detail == (f"{OLD_SCHEDULER} (a pod asks for 8 nvidia.com/gpu, and no node has more than 4)")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("readable", [True, False])
def test_gpus_that_a_node_would_have_are_waited_for_and_so_is_what_is_not_known(
    cluster: FakeCluster, server: Server, readable: bool
) -> None:
    node(cluster, "8" if readable else "4")
    if not readable:
        cluster.fail("GET .*/nodes", 403, times=1000)
    with make(server, unschedulable_grace=1, queue_timeout=3) as launcher:
        launcher.submit(replace(WORK, gpus=8))
        waiter = Waiter(launcher)
        unschedulable(cluster, OLD_SCHEDULER)
        assert waiter.outcome().failure is Failure.QUEUE_TIMEOUT
