"""The kubernetes launcher and an API server with troubles."""

import time
from dataclasses import replace

import pytest

from benchmarks.parts.fake_api import Server
from benchmarks.parts.fake_cluster import FakeCluster
from components.errors import BadInput
from flows.launchers.api import ApiUnavailableError
from flows.launchers.base import Failure, State
from flows.launchers.kubernetes import KubernetesLauncher
from tests.flows.launchers.simulated import NAME, QUICK, WORK, Waiter, make, submitted, until


def test_a_watch_that_breaks_is_resumed_without_a_new_list(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    waiter = submitted(launcher, cluster)
    for number in range(5):
        cluster.drop_watches()
        cluster.pod(NAME, phase="Pending", message=str(number))
        until(lambda: cluster.watching == 2)
    cluster.finish(NAME)
    assert waiter.outcome().state is State.SUCCEEDED
    assert (cluster.calls["GET jobs"], cluster.calls["GET pods"]) == (1, 1)


def test_410_gone_lists_again(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    waiter = submitted(launcher, cluster)
    cluster.run(NAME)
    cluster.forget()
    cluster.finish(NAME)
    cluster.forget()
    assert waiter.outcome().state is State.SUCCEEDED
    assert cluster.calls["GET jobs"] >= 2


def test_what_was_deleted_while_nobody_watched_is_noticed_by_the_list(
    cluster: FakeCluster, launcher: KubernetesLauncher
) -> None:
    waiter = submitted(launcher, cluster)
    with cluster.changed:
        cluster.drop_watches()
        cluster.remove("jobs", NAME)
        cluster.forget()
    assert waiter.outcome().failure is Failure.LOST


def test_a_watch_ends_and_goes_on_now_and_then(cluster: FakeCluster, server: Server) -> None:
    with make(server, QUICK.model_copy(update={"watch_timeout": 1})) as launcher:
        waiter = submitted(launcher, cluster)
        time.sleep(2.5)
        cluster.finish(NAME)
        assert waiter.outcome().state is State.SUCCEEDED
    assert cluster.calls["WATCH jobs"] >= 3
    assert cluster.calls["GET jobs"] == 1


def test_the_list_is_a_safety_net_under_the_watch(cluster: FakeCluster, server: Server) -> None:
    with make(server, QUICK.model_copy(update={"watch_timeout": 1, "relist": 0.5})) as launcher:
        waiter = submitted(launcher, cluster)
        with cluster.changed:
            job = cluster.objects["jobs"][NAME]  # changed without an event
            job["metadata"]["resourceVersion"] = "7"
            job["status"]["conditions"] = [{"type": "Complete", "status": "True"}]
        assert waiter.outcome().state is State.SUCCEEDED


def test_a_list_comes_in_pages(
    cluster: FakeCluster, launcher: KubernetesLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.launchers.watch.PAGE", 3)
    works = [replace(WORK, shard=f"{number:05d}-of-00008") for number in range(8)]
    names = [launcher.submit(work) for work in works]
    cluster.forget()
    for name in names:
        cluster.finish(name)
    cluster.forget()
    assert {launcher.wait(name).state for name in names} == {State.SUCCEEDED}


@pytest.mark.parametrize("status", [429, 500, 503, 0])
def test_errors_that_pass_are_waited_out_for_every_kind_of_request(
    cluster: FakeCluster, launcher: KubernetesLauncher, status: int
) -> None:
    for verb in ("POST", "GET .*/jobs", "GET .*/pods", "WATCH .*/jobs", "WATCH .*/pods", "DELETE"):
        cluster.fail(f"^{verb}", status, times=3)
    waiter = submitted(launcher, cluster)
    cluster.finish(NAME)
    assert waiter.outcome().state is State.SUCCEEDED
    launcher.delete(NAME)
    assert cluster.objects["jobs"] == {}
    assert not [fault for fault in cluster.faults if fault.times]
    assert cluster.created == {NAME: 1}


def test_retry_after_is_honoured(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    cluster.fail("POST", 429, headers={"Retry-After": "1"})
    began = time.monotonic()
    launcher.submit(WORK)
    assert time.monotonic() - began >= 1.0


def test_a_server_that_stays_away_ends_the_waiting_and_leaves_the_job(cluster: FakeCluster, server: Server) -> None:
    launcher = make(server, QUICK.model_copy(update={"patience": 1.0}))
    waiter = submitted(launcher, cluster)
    cluster.run(NAME)
    cluster.fail("", 503, times=10_000)
    cluster.drop_watches()
    with pytest.raises(ApiUnavailableError, match=r"has not answered for 1 s .*run the flow again"):
        waiter.outcome()
    with pytest.raises(ApiUnavailableError):
        launcher.submit(replace(WORK, attempt=1))
    cluster.faults.clear()
    watched = launcher._entries[NAME].mirrors
    until(lambda: watched.jobs.error is None and watched.pods.error is None)  # it is back
    cluster.finish(NAME)
    assert Waiter(launcher).outcome().state is State.SUCCEEDED
    launcher.close()


def test_missing_rights_to_watch_are_said(
    cluster: FakeCluster, launcher: KubernetesLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.launchers.watch.REFUSED_FOR", 0.5)
    cluster.fail("(GET|WATCH) .*/pods", 403, times=10_000, message="pods is forbidden")
    launcher.submit(WORK)
    with pytest.raises(BadInput, match=r"may not watch .*/pods: pods is forbidden; give its service account"):
        Waiter(launcher).outcome()
