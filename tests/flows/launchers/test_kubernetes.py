"""The kubernetes launcher against an API server that breaks at a chosen moment; tests/cluster has the real one."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from benchmarks.parts.fake_cluster import Automatic, FakeCluster, Server
from components.errors import BadInput
from flows.launchers import kubernetes as module
from flows.launchers.api import Api, ApiUnavailableError
from flows.launchers.base import Ended, Failure, State, Work
from flows.launchers.kubernetes import KubernetesLauncher
from flows.launchers.names import name_of
from flows.launchers.settings import Api as Timing
from flows.launchers.settings import KubernetesSettings

TEMPLATE = Path(__file__).parents[3] / "k8s/stage-job.yaml"
WORK = Work("run-1", "generate", "00000-of-00002", 0, ("components.generate",), gpus=1)
NAME = name_of(WORK)
QUICK = Timing(patience=20, first_pause=0.02, longest_pause=0.2, watch_timeout=30)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def server(cluster: FakeCluster) -> Iterator[Server]:
    made = Server(cluster).start()
    yield made
    made.shutdown()
    made.server_close()


def make(server: Server, timing: Timing = QUICK, **changes: Any) -> KubernetesLauncher:
    configuration = client.Configuration()
    configuration.host = server.url
    settings = KubernetesSettings(image="image", job_template=TEMPLATE, api=timing, **changes)
    return KubernetesLauncher(settings, configuration)


@pytest.fixture
def launcher(server: Server) -> Iterator[KubernetesLauncher]:
    with make(server) as made:
        yield made


class Waiter:
    """Someone who waits, in a thread."""

    def __init__(self, launcher: KubernetesLauncher, handle: str = NAME) -> None:
        self.states: list[State] = []
        self.lines: list[str] = []
        self._result: list[Ended | Exception] = []
        self._thread = threading.Thread(target=self._wait, args=(launcher, handle), daemon=True)
        self._thread.start()

    def _wait(self, launcher: KubernetesLauncher, handle: str) -> None:
        try:
            self._result.append(launcher.wait(handle, self.states.append, self.lines.append))
        except Exception as error:  # noqa: BLE001  # it is raised where the test asks for it
            self._result.append(error)

    @property
    def waits(self) -> bool:
        return self._thread.is_alive()

    def ended(self, seconds: float = 20) -> Ended:
        self._thread.join(seconds)
        assert not self.waits, f"still waits; states {self.states}"
        if isinstance(self._result[0], Exception):
            raise self._result[0]
        return self._result[0]


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def submitted(launcher: KubernetesLauncher, cluster: FakeCluster) -> Waiter:
    launcher.submit(WORK)
    until(lambda: cluster.watching == 2)
    return Waiter(launcher)


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
    assert waiter.ended() == Ended(State.SUCCEEDED, exit_code=0)
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
    assert waiter.ended().failure is Failure.RESUME_LATER


def test_a_failed_job_whose_pod_is_told_of_later(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    waiter = submitted(launcher, cluster)
    cluster.run(NAME)
    cluster.job(NAME, "Failed", reason="BackoffLimitExceeded")
    time.sleep(0.3)
    end = {"exitCode": 137, "reason": "OOMKilled"}
    cluster.pod(NAME, phase="Failed", containerStatuses=[{"name": "stage", "state": {"terminated": end}}])
    assert waiter.ended().failure is Failure.OUT_OF_MEMORY


def test_a_pod_that_is_gone_before_anyone_looked_still_says_why(
    cluster: FakeCluster, launcher: KubernetesLauncher
) -> None:
    launcher.submit(WORK)
    until(lambda: cluster.watching == 2)
    cluster.finish(NAME, 65)
    cluster.remove("pods", f"{NAME}-pod")
    until(lambda: launcher._entries[NAME].watched.pods.last_seen(f"{NAME}-pod"))
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
    assert waiter.ended().state is State.SUCCEEDED


def test_a_finished_job_that_its_ttl_removed_has_succeeded(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    launcher.submit(WORK)
    until(lambda: cluster.watching == 2)
    cluster.finish(NAME)
    cluster.remove("jobs", NAME)
    until(lambda: launcher._entries[NAME].watched.jobs.last_seen(NAME))
    assert launcher.wait(NAME).state is State.SUCCEEDED


def test_a_job_that_another_deletes_is_lost(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    waiter = submitted(launcher, cluster)
    cluster.run(NAME)
    cluster.remove("jobs", NAME)
    ended = waiter.ended()
    assert ended.failure is Failure.LOST
    assert "was deleted from namespace dp2o" in ended.detail


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
    assert waiter.ended().state is State.SUCCEEDED
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
    assert waiter.ended().state is State.SUCCEEDED
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


# ---- an API server with troubles


def test_a_watch_that_breaks_is_resumed_without_a_new_list(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    waiter = submitted(launcher, cluster)
    for number in range(5):
        cluster.drop_watches()
        cluster.pod(NAME, phase="Pending", message=str(number))
        until(lambda: cluster.watching == 2)
    cluster.finish(NAME)
    assert waiter.ended().state is State.SUCCEEDED
    assert (cluster.calls["GET jobs"], cluster.calls["GET pods"]) == (1, 1)


def test_410_gone_lists_again(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    waiter = submitted(launcher, cluster)
    cluster.run(NAME)
    cluster.forget()
    cluster.finish(NAME)
    cluster.forget()
    assert waiter.ended().state is State.SUCCEEDED
    assert cluster.calls["GET jobs"] >= 2


def test_what_was_deleted_while_nobody_watched_is_noticed_by_the_list(
    cluster: FakeCluster, launcher: KubernetesLauncher
) -> None:
    waiter = submitted(launcher, cluster)
    with cluster.changed:
        cluster.drop_watches()
        cluster.remove("jobs", NAME)
        cluster.forget()
    assert waiter.ended().failure is Failure.LOST


def test_a_watch_ends_and_goes_on_now_and_then(cluster: FakeCluster, server: Server) -> None:
    with make(server, QUICK.model_copy(update={"watch_timeout": 1})) as launcher:
        waiter = submitted(launcher, cluster)
        time.sleep(2.5)
        cluster.finish(NAME)
        assert waiter.ended().state is State.SUCCEEDED
    assert cluster.calls["WATCH jobs"] >= 3
    assert cluster.calls["GET jobs"] == 1


def test_the_list_is_a_safety_net_under_the_watch(cluster: FakeCluster, server: Server) -> None:
    with make(server, QUICK.model_copy(update={"watch_timeout": 1, "relist": 0.5})) as launcher:
        waiter = submitted(launcher, cluster)
        with cluster.changed:
            job = cluster.objects["jobs"][NAME]  # changed without an event
            job["metadata"]["resourceVersion"] = "7"
            job["status"]["conditions"] = [{"type": "Complete", "status": "True"}]
        assert waiter.ended().state is State.SUCCEEDED


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
    assert waiter.ended().state is State.SUCCEEDED
    launcher.delete(NAME)
    assert cluster.objects["jobs"] == {}
    assert not [fault for fault in cluster.faults if fault.times]
    assert cluster.created == {NAME: 1}


def test_retry_after_is_honoured(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    cluster.fail("POST", 429, headers={"Retry-After": "1"})
    began = time.monotonic()
    launcher.submit(WORK)
    assert 1.0 <= time.monotonic() - began < 5


def test_a_server_that_stays_away_ends_the_waiting_and_leaves_the_job(cluster: FakeCluster, server: Server) -> None:
    launcher = make(server, QUICK.model_copy(update={"patience": 1.0}))
    waiter = submitted(launcher, cluster)
    cluster.run(NAME)
    cluster.fail("", 503, times=10_000)
    cluster.drop_watches()
    with pytest.raises(ApiUnavailableError, match=r"has not answered for 1 s .*run the flow again"):
        waiter.ended()
    with pytest.raises(ApiUnavailableError):
        launcher.submit(replace(WORK, attempt=1))
    cluster.faults.clear()
    watched = launcher._entries[NAME].watched
    until(lambda: watched.jobs.error is None and watched.pods.error is None)  # it is back
    cluster.finish(NAME)
    assert Waiter(launcher).ended().state is State.SUCCEEDED
    launcher.close()


def test_missing_rights_to_watch_are_said(
    cluster: FakeCluster, launcher: KubernetesLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.launchers.watch.REFUSED_FOR", 0.5)
    cluster.fail("(GET|WATCH) .*/pods", 403, times=10_000, message="pods is forbidden")
    launcher.submit(WORK)
    with pytest.raises(BadInput, match=r"may not watch .*/pods: pods is forbidden; give its service account"):
        Waiter(launcher).ended()


# ---- what never starts


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
    assert waiter.ended().state is State.SUCCEEDED
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
    assert waiter.ended().state is State.SUCCEEDED
    assert waiter.lines == ["all of it"]
    assert not [fault for fault in cluster.faults if fault.times]


def test_a_log_that_cannot_be_had_changes_nothing(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    cluster.fail("GET .*/log", 500, times=3)
    waiter = submitted(launcher, cluster)
    cluster.run(NAME)
    cluster.finish(NAME)
    assert waiter.ended().state is State.SUCCEEDED


# ---- several pods of one Job

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
    until(lambda: launcher._pods_of.get(TRAINING))
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
    assert waiter.ended().state is State.SUCCEEDED
    assert waiter.lines == ["of the first"]


def test_one_node_that_finds_no_place_is_told_though_the_other_runs(cluster: FakeCluster, server: Server) -> None:
    with make(server, unschedulable_grace=1) as launcher:
        waiter = on_two_nodes(launcher, cluster)
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no rack"}
        cluster.pod(TRAINING, index=0, phase="Pending", conditions=[condition], scheduled=False)
        runs(cluster, 1)  # the newer one has no trouble
        ended = waiter.ended()
        assert (ended.failure, ended.detail) == (Failure.UNSCHEDULABLE, "no rack")
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
    ended = waiter.ended()
    assert ended.failure is Failure.OUT_OF_MEMORY
    assert f"{TRAINING}-1" in ended.detail


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


# ---- delete and close


def test_delete_ends_the_waiting_and_close_deletes_the_rest(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    waiter = submitted(launcher, cluster)
    other = launcher.submit(replace(WORK, attempt=1))
    cluster.run(NAME)
    launcher.delete(NAME)
    assert waiter.ended().failure is Failure.CANCELLED
    launcher.delete(NAME)  # gone is fine
    assert list(cluster.objects["jobs"]) == [other]
    launcher.close()
    assert cluster.objects["jobs"] == {}
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("watch", "log"))]


def test_close_is_quick_while_others_wait(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    waiter = submitted(launcher, cluster)
    began = time.monotonic()
    launcher.close()
    assert waiter.ended().failure is Failure.CANCELLED
    assert time.monotonic() - began < 3


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
    assert [waiter.ended().state for waiter in waiters] == [State.SUCCEEDED] * 2
    assert cluster.created == {NAME: 1}


def test_a_hundred_shards_share_two_watches(cluster: FakeCluster, launcher: KubernetesLauncher) -> None:
    Automatic(cluster, 0.2)
    waiters = [Waiter(launcher, launcher.submit(replace(WORK, shard=str(number)))) for number in range(100)]
    assert {waiter.ended(60).state for waiter in waiters} == {State.SUCCEEDED}
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
