"""The kubernetes launcher against a simulated API server; tests/cluster has the real one."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.parts.fake_api import Automatic, Server
from benchmarks.parts.fake_cluster import FakeCluster
from components.errors import BadInput
from flows.launchers.api import Api
from flows.launchers.base import Failure, Outcome, State
from flows.launchers.kubernetes import KubernetesLauncher
from tests.flows.launchers.simulated import NAME, QUICK, WORK, Waiter, make, submitted, until

# ---- states and ends


def test_suspended_then_pending_running_finishing_and_only_then_the_end(
    cluster: FakeCluster, launcher: KubernetesLauncher
) -> None:
    waiter = submitted(launcher, cluster)
    for change, state in (
        (lambda: cluster.job(NAME, "Suspended", suspend=True), State.QUEUED),
        (lambda: cluster.job(NAME, "Suspended=False"), State.PENDING),
        (lambda: cluster.run(NAME), State.RUNNING),
        (lambda: cluster.job(NAME, "SuccessCriteriaMet"), State.FINISHING),
    ):
        change()
        until(lambda state=state: waiter.states[-1:] == [state])
    time.sleep(0.2)
    assert waiter.waits
    cluster.pod(NAME, phase="Succeeded")
    cluster.job(NAME, "SuccessCriteriaMet", "Complete")
    assert waiter.outcome() == Outcome(State.SUCCEEDED, exit_code=0)
    expected = [State.QUEUED, State.PENDING, State.RUNNING, State.FINISHING, State.SUCCEEDED]
    assert [state for number, state in enumerate(waiter.states) if number or state is not State.PENDING] == expected


def test_failure_target_is_no_end(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    waiter = submitted(launcher, cluster)
    cluster.run(NAME)
    cluster.job(NAME, "FailureTarget", reason="PodFailurePolicy")
    until(lambda: waiter.states[-1:] == [State.FINISHING])
    time.sleep(0.2)
    assert waiter.waits
    cluster.finish(NAME, 75)
    assert waiter.outcome().failure is Failure.RESUME_LATER


def test_a_failed_job_whose_pod_is_told_of_later(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    waiter = submitted(launcher, cluster)
    cluster.run(NAME)
    cluster.job(NAME, "Failed", reason="BackoffLimitExceeded")
    time.sleep(0.3)
    end = {"exitCode": 137, "reason": "OOMKilled"}
    cluster.pod(NAME, phase="Failed", containerStatuses=[{"name": "stage", "state": {"terminated": end}}])
    assert waiter.outcome().failure is Failure.OUT_OF_MEMORY


def test_a_pod_that_is_gone_before_anyone_looked_still_says_why(
    cluster: FakeCluster, launcher: KubernetesLauncher
) -> None:
    launcher.submit(WORK)
    until(lambda: cluster.watching == 2)
    cluster.finish(NAME, 65)
    cluster.remove("pods", f"{NAME}-pod")
    until(lambda: launcher._entries[NAME].mirrors.pods.last_seen(f"{NAME}-pod"))
    assert launcher.wait(NAME).failure is Failure.CORRUPT_INPUT


def test_a_pod_that_is_gone_does_not_run_any_more(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    waiter = submitted(launcher, cluster)
    cluster.run(NAME)
    until(lambda: waiter.states[-1:] == [State.RUNNING])
    cluster.remove("pods", f"{NAME}-pod")  # preempted: its last word was Running
    until(lambda: waiter.states[-1:] == [State.PENDING])
    cluster.job(NAME, "Suspended", suspend=True)
    until(lambda: waiter.states[-1:] == [State.QUEUED])
    cluster.job(NAME, "Suspended=False")
    cluster.pod(NAME, "another", phase="Running", containerStatuses=[{"name": "stage", "state": {"running": {}}}])
    until(lambda: waiter.states[-1:] == [State.RUNNING])
    cluster.pod(NAME, "another", phase="Succeeded")
    cluster.job(NAME, "Complete")
    assert waiter.outcome().state is State.SUCCEEDED


def test_a_finished_job_that_its_ttl_removed_has_succeeded(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    launcher.submit(WORK)
    until(lambda: cluster.watching == 2)
    cluster.finish(NAME)
    cluster.remove("jobs", NAME)
    until(lambda: launcher._entries[NAME].mirrors.jobs.last_seen(NAME))
    assert launcher.wait(NAME).state is State.SUCCEEDED


def test_a_job_that_another_deletes_is_lost(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    waiter = submitted(launcher, cluster)
    cluster.run(NAME)
    cluster.remove("jobs", NAME)
    outcome = waiter.outcome()
    assert outcome.failure is Failure.LOST
    assert "was deleted from namespace dp2o" in outcome.detail


# ---- adoption


def test_submitting_again_creates_nothing(cluster: FakeCluster, server: Server, launcher: KubernetesLauncher) -> None:
    assert launcher.submit(WORK) == launcher.submit(WORK) == NAME
    cluster.run(NAME)
    cluster.write(NAME, "told to the flow before")
    time.sleep(1.1)  # a log is asked for by whole seconds
    restarted = make(server)
    assert restarted.submit(WORK) == NAME
    waiter = Waiter(restarted)
    until(lambda: State.RUNNING in waiter.states)
    cluster.write(NAME, "new")
    until(lambda: waiter.lines)
    cluster.finish(NAME)
    assert waiter.outcome().state is State.SUCCEEDED
    assert waiter.lines == ["new"]
    assert cluster.created == {NAME: 1}
    assert list(restarted.logs(NAME)) == ["told to the flow before", "new"]
    restarted.close(delete=False)
    assert NAME in cluster.objects["jobs"]


def test_a_create_whose_answer_was_lost_is_not_done_twice(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    cluster.fail("POST", 0, after=True)
    cluster.fail("POST", 500, after=True)
    waiter = submitted(launcher, cluster)
    cluster.run(NAME)
    cluster.write(NAME, "first")
    cluster.finish(NAME)
    assert waiter.outcome().state is State.SUCCEEDED
    assert cluster.created == {NAME: 1}
    assert waiter.lines == ["first"]  # it is our own, so its log is told from the beginning


def test_a_job_of_that_name_that_is_not_ours_is_refused(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    labels = {"dp2o.dev/run": "run-2"}
    cluster.create_job({"metadata": {"name": NAME, "labels": labels}, "spec": {"template": {"metadata": {}}}})
    with pytest.raises(BadInput, match=r"with dp2o.dev/run=run-2, not run-1: it is not ours"):
        launcher.submit(WORK)
    launcher.close()
    assert NAME in cluster.objects["jobs"]


def test_a_job_that_is_being_deleted_is_not_adopted(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    launcher.submit(WORK)
    dying = cluster.objects["jobs"][NAME]
    dying["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cluster.put("jobs", dying)
    threading.Timer(0.7, lambda: cluster.remove("jobs", NAME)).start()
    launcher._entries.clear()
    launcher.submit(WORK)
    assert cluster.created == {NAME: 2}


# ---- logs


def test_lines_come_once_over_a_connection_that_breaks(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    waiter = submitted(launcher, cluster)
    cluster.run(NAME)
    for number in range(4):
        cluster.write(NAME, f"{number} a", f"{number} b", "")
        until(lambda number=number: f"{number} b" in waiter.lines)
        cluster.drop_watches()
    cluster.write(NAME, "last")
    cluster.finish(NAME)
    assert waiter.outcome().state is State.SUCCEEDED
    expected = [line for number in range(4) for line in (f"{number} a", f"{number} b", "")] + ["last"]
    assert waiter.lines == expected
    assert list(launcher.logs(NAME)) == expected


def test_the_log_of_a_pod_that_is_told_of_after_its_jobs_end(
    cluster: FakeCluster, launcher: KubernetesLauncher
) -> None:
    cluster.fail("GET .*/pods$", 503, times=6)
    launcher.submit(WORK)
    cluster.run(NAME)
    cluster.write(NAME, "all of it")
    cluster.finish(NAME)
    waiter = Waiter(launcher)
    assert waiter.outcome().state is State.SUCCEEDED
    assert waiter.lines == ["all of it"]
    assert not [fault for fault in cluster.faults if fault.times]


def test_a_log_that_cannot_be_had_changes_nothing(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    cluster.fail("GET .*/log", 500, times=3)
    waiter = submitted(launcher, cluster)
    cluster.run(NAME)
    cluster.finish(NAME)
    assert waiter.outcome().state is State.SUCCEEDED


def test_two_threads_that_submit_the_same_at_once(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    cluster.fail("POST", 500, times=2)
    waiters: list[Waiter] = []
    threads = [threading.Thread(target=lambda: waiters.append(Waiter(launcher, launcher.submit(WORK)))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: NAME in cluster.objects["jobs"])
    cluster.finish(NAME)
    assert [waiter.outcome().state for waiter in waiters] == [State.SUCCEEDED] * 2
    assert cluster.created == {NAME: 1}


def test_a_hundred_shards_share_two_watches(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    Automatic(cluster, 0.2)
    waiters = [Waiter(launcher, launcher.submit(replace(WORK, shard=str(number)))) for number in range(100)]
    assert {waiter.outcome(60).state for waiter in waiters} == {State.SUCCEEDED}
    assert (cluster.calls["WATCH jobs"], cluster.calls["WATCH pods"]) == (1, 1)
    assert cluster.calls["POST jobs"] == 100
    assert cluster.calls["GET jobs"] <= 2


def test_a_handle_of_another_launcher_is_told_apart(launcher: KubernetesLauncher) -> None:
    with pytest.raises(KeyError, match="was not submitted here"):
        launcher.wait("x")


def test_without_a_cluster_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(BadInput, match="set KUBECONFIG"):
        Api(QUICK)
