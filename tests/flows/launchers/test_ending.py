"""How the kubernetes launcher ends: delete, close, sweep."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.parts.fake_api import Server
from benchmarks.parts.fake_cluster import FakeCluster
from components.artifacts.shards import Shard
from components.storage.store import Store
from components.task.document import Task
from flows.launchers.base import Failure, WorkFailedError
from flows.launchers.kubernetes import KubernetesLauncher
from flows.launchers.names import name_of
from flows.stages import Runner
from tests.flows.launchers.simulated import NAME, WORK, Waiter, make, submitted, until
from tests.flows.made import make_project


def test_delete_ends_the_waiting_and_close_deletes_the_rest(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    waiter = submitted(launcher, cluster)
    other = launcher.submit(replace(WORK, attempt=1))
    cluster.run(NAME)
    launcher.delete(NAME)
    assert waiter.outcome().failure is Failure.CANCELLED
    launcher.delete(NAME)  # gone is fine
    assert list(cluster.objects["jobs"]) == [other]
    launcher.close()
    assert cluster.objects["jobs"] == {}
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("watch", "log"))]


def test_close_is_quick_while_others_wait(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    waiter = submitted(launcher, cluster)
    began = time.monotonic()
    launcher.close()
    assert waiter.outcome().failure is Failure.CANCELLED
    assert time.monotonic() - began < 60  # one that waited for the Job would not end


def test_a_sweep_deletes_what_a_dead_flow_left_and_nothing_of_others(server: Server, cluster: FakeCluster) -> None:
    other = replace(WORK, run="run-2")
    dead = make(server)
    dead.submit(WORK)
    dead.submit(replace(WORK, shard="00001-of-00002"))
    dead.submit(other)
    dead.close(delete=False)
    with make(server) as launcher:
        launcher.sweep("run-1")
        assert set(cluster.objects["jobs"]) == {name_of(other)}
        launcher.sweep("run-1")


# ---- a run that is cancelled: of its Jobs none stays, and none comes after


@pytest.fixture
def runner(launcher: KubernetesLauncher, tmp_path: Path) -> Runner:
    store = Store(f"file://{tmp_path / 'store'}")
    return Runner(make_project(tmp_path / "project"), store, launcher, "run-1", sleep=lambda seconds: None)


def performed(runner: Runner, shard: int) -> Failure:
    """How a part of generate fails."""
    task = Task(stage="generate", store=runner.store.url, params="", inputs=[], outputs=[])
    with pytest.raises(WorkFailedError) as raised:
        runner.perform(task, task.invocation("publish", Shard(shard, 3)), logging.getLogger())
    return raised.value.failure


def test_a_part_whose_job_is_swept_does_not_start_it_again(
    cluster: FakeCluster, launcher: KubernetesLauncher, runner: Runner
) -> None:
    cluster.after = lambda request: time.sleep(0.5 * request.startswith("DELETE"))  # waiters are told before the sweep
    with ThreadPoolExecutor() as pool, launcher:
        parts = [pool.submit(performed, runner, number) for number in range(2)]
        until(lambda: cluster.watching == 2 and len(cluster.objects["jobs"]) == 2)
        time.sleep(0.2)
        launcher.sweep("run-1")
        time.sleep(0.5)
        late = pool.submit(performed, runner, 2)  # it waited for its turn
        time.sleep(0.5)
        launcher.close()
        assert [part.result(10) for part in (*parts, late)] == [Failure.CANCELLED] * 3
    assert cluster.objects["jobs"] == {}
    assert cluster.calls["POST jobs"] == 2


@pytest.mark.parametrize("how", ["delete", "sweep", "close"])
def test_a_job_that_comes_to_be_while_it_is_deleted_goes_as_well(
    cluster: FakeCluster, launcher: KubernetesLauncher, how: str
) -> None:
    asked, deleted = threading.Event(), threading.Event()

    def slowly(request: str) -> None:
        if request == "POST jobs":
            asked.set()
            deleted.wait(10)

    cluster.before = slowly
    with ThreadPoolExecutor() as pool, launcher:
        submitting = pool.submit(launcher.submit, WORK)
        assert asked.wait(10)
        if how == "delete":
            launcher.delete(NAME)
        elif how == "sweep":
            launcher.sweep("run-1")
        else:
            launcher.close()
        deleted.set()
        assert submitting.result(10) == NAME
    assert cluster.created == {NAME: 1}
    assert cluster.objects["jobs"] == {}
    assert Waiter(launcher).outcome().failure is Failure.CANCELLED


def test_after_close_nothing_is_submitted(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    launcher.close()
    assert Waiter(launcher, launcher.submit(WORK)).outcome().failure is Failure.CANCELLED
    assert cluster.created == {}
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("watch")]


# ---- a process that ends, of a run that goes on


def test_who_leaves_its_jobs_to_the_next_deletes_none(
    cluster: FakeCluster, server: Server, launcher: KubernetesLauncher
) -> None:
    waiter = submitted(launcher, cluster)
    cluster.run(NAME)
    launcher.close(delete=False)
    outcome = waiter.outcome()
    assert (outcome.failure, outcome.detail) == (Failure.CANCELLED, "this flow's process ends; its Job goes on")
    launcher.delete(NAME)  # as the part does that waited
    launcher.close()
    assert Waiter(launcher, launcher.submit(replace(WORK, attempt=1))).outcome().failure is Failure.CANCELLED
    assert list(cluster.objects["jobs"]) == [NAME]
    with make(server) as following:
        following.submit(WORK)
        cluster.finish(NAME)
        assert Waiter(following).outcome().failure is None
    assert cluster.created == {NAME: 1}
