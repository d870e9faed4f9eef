"""The kubernetes launcher and Jobs of several pods."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.parts.fake_api import Server
from benchmarks.parts.fake_cluster import FakeCluster
from components.errors import BadInput
from flows.launchers.base import Failure, State
from flows.launchers.kubernetes import KubernetesLauncher
from flows.launchers.names import name_of
from tests.flows.launchers.simulated import TEMPLATE, WORK, Waiter, make, until

TOGETHER = replace(WORK, stage="train", shard="whole", command=("components.train",), nodes=2)
TRAINING = name_of(TOGETHER)


def on_two_nodes(launcher: KubernetesLauncher, cluster: FakeCluster) -> Waiter:
    launcher.submit(TOGETHER)
    until(lambda: cluster.watching == 2)
    return Waiter(launcher, TRAINING)


def runs(cluster: FakeCluster, index: int) -> None:
    cluster.pod(TRAINING, index=index, phase="Running", containerStatuses=[{"state": {"running": {}}}])


def ends(cluster: FakeCluster, index: int, code: int, **more: Any) -> None:
    statuses = [{"name": "stage", "state": {"terminated": {"exitCode": code, "reason": "Error"}}}]
    phase = "Failed" if code else "Succeeded"
    cluster.pod(TRAINING, index=index, phase=phase, containerStatuses=statuses, **more)


def test_training_runs_when_all_its_nodes_do_and_the_first_ones_log_is_told(
    cluster: FakeCluster, launcher: KubernetesLauncher
) -> None:
    waiter = on_two_nodes(launcher, cluster)
    runs(cluster, 1)
    until(lambda: launcher._mirrors._pods_of.get(TRAINING))
    cluster.pod(TRAINING, index=0, phase="Pending", scheduled=False)
    time.sleep(0.2)
    assert set(waiter.states) == {State.PENDING}
    runs(cluster, 0)
    until(lambda: waiter.states[-1:] == [State.RUNNING])
    cluster.write(TRAINING, "of the second", pod=f"{TRAINING}-1")
    cluster.write(TRAINING, "of the first", pod=f"{TRAINING}-0")
    until(lambda: waiter.lines)
    ends(cluster, 1, 0)
    time.sleep(0.2)
    assert waiter.states[-1] is State.RUNNING  # the first still publishes
    ends(cluster, 0, 0)
    cluster.job(TRAINING, "Complete")
    assert waiter.outcome().state is State.SUCCEEDED
    assert waiter.lines == ["of the first"]


def test_one_node_that_finds_no_place_is_told_though_the_other_runs(cluster: FakeCluster, server: Server) -> None:
    with make(server, unschedulable_grace=1) as launcher:
        waiter = on_two_nodes(launcher, cluster)
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no rack"}
        cluster.pod(TRAINING, index=0, phase="Pending", conditions=[condition], scheduled=False)
        runs(cluster, 1)  # the newer one has no trouble
        outcome = waiter.outcome()
        assert (outcome.failure, outcome.detail) == (Failure.UNSCHEDULABLE, "no rack")
        assert cluster.objects["jobs"] == {}


def test_the_node_that_failed_is_told_and_not_those_that_fell_with_it(
    cluster: FakeCluster, launcher: KubernetesLauncher
) -> None:
    waiter = on_two_nodes(launcher, cluster)
    runs(cluster, 0)
    runs(cluster, 1)
    ends(cluster, 0, 1)  # its connection broke
    cluster.job(TRAINING, "Failed", reason="BackoffLimitExceeded")
    time.sleep(0.3)
    assert waiter.waits  # the other, told by another watch, may be why
    ends(cluster, 1, 137)
    outcome = waiter.outcome()
    assert outcome.failure is Failure.OUT_OF_MEMORY
    assert f"{TRAINING}-1" in outcome.detail


def test_a_stage_may_have_a_template_of_its_own(cluster: FakeCluster, server: Server, tmp_path: Path) -> None:
    own = tmp_path / "train-job.yaml"
    own.write_text(TEMPLATE.read_text().replace("sizeLimit: 2Gi", "sizeLimit: 64Gi"))
    with make(server, stage_templates={"train": own}) as launcher:
        for work, size in ((TOGETHER, "64Gi"), (WORK, "2Gi")):
            name = launcher.submit(work)
            (shm,) = [
                volume["emptyDir"]
                for volume in cluster.objects["jobs"][name]["spec"]["template"]["spec"]["volumes"]
                if volume["name"] == "shm"
            ]
            assert shm["sizeLimit"] == size
    with pytest.raises(BadInput, match="does not exist"):
        make(server, stage_templates={"train": tmp_path / "none.yaml"})
