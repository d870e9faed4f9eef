"""What statuses mean; the samples are as API servers give them."""

from typing import Any

import pytest

from flows.attempts import following
from flows.launchers import classify
from flows.launchers.base import Failure, State

Json = dict[str, Any]


def job(*conditions: str, suspend: bool = False, reason: str = "", message: str = "", **metadata: object) -> Json:
    return {
        "metadata": {"name": "j", "uid": "u", **metadata},
        "spec": {"suspend": suspend},
        "status": {
            "conditions": [
                {
                    "type": kind.split("=")[0],
                    "status": kind.partition("=")[2] or "True",
                    "reason": reason,
                    "message": message,
                }
                for kind in conditions
            ]
        },
    }


def pod(phase: str = "Running", conditions: list[Json] | None = None, **more: Any) -> Json:
    metadata = {"name": "j-x", "uid": "p", **more.pop("metadata", {})}
    return {
        "metadata": metadata,
        "spec": {"nodeName": "n1"},
        "status": {"phase": phase, "conditions": conditions or [], **more},
    }


def died(code: int, reason: str = "Error", message: str = "", **more: Any) -> Json:
    end = {"exitCode": code, "reason": reason, "message": message}
    return pod("Failed", containerStatuses=[{"name": "stage", "state": {"terminated": end}}], **more)


def waiting(reason: str, message: str = "") -> Json:
    return pod("Pending", containerStatuses=[{"state": {"waiting": {"reason": reason, "message": message}}}])


def unschedulable(message: str) -> Json:
    return pod("Pending", [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}])


FAILED = job("Failed", reason="BackoffLimitExceeded", message="Job has reached the specified backoff limit")


@pytest.mark.parametrize(
    ("of_job", "pods", "state"),
    [
        (job(), [], State.PENDING),
        (job(suspend=True), [], State.QUEUED),
        (job("Suspended"), [], State.QUEUED),
        (job("Suspended=False"), [], State.PENDING),
        (job(), [pod("Pending")], State.PENDING),
        (job(), [pod()], State.RUNNING),
        (job(suspend=True), [pod()], State.RUNNING),  # its pods are still being taken away
        (job(), [pod("Succeeded")], State.FINISHING),
        (job(), [died(1)], State.FINISHING),
        (job(), [died(137), pod("Pending")], State.PENDING),  # evicted, and made again
        (job("SuccessCriteriaMet"), [pod()], State.FINISHING),
        (job("FailureTarget"), [pod()], State.FINISHING),
        (job("FailureTarget", "Failed=False"), [], State.FINISHING),
        (job(deletionTimestamp="2026-01-01T00:00:00Z"), [pod()], State.FINISHING),
        (job("Complete"), [], State.SUCCEEDED),
        (job("SuccessCriteriaMet", "Complete"), [], State.SUCCEEDED),
        (job("FailureTarget", "Failed"), [], State.FAILED),
    ],
)
def test_only_complete_and_failed_are_ends(of_job: Json, pods: list[Json], state: State) -> None:
    assert classify.state_of(of_job, pods) is state
    assert (classify.end_of(of_job) is not None) is state.ended


@pytest.mark.parametrize(
    ("of_pod", "failure", "text"),
    [
        (died(1, message="ValueError: x"), Failure.CRASHED, "it said last:\nValueError: x"),
        (died(2), Failure.BAD_INPUT, "exit code 2"),
        (died(1, message="OSError: [Errno 28] No space left on device: 'x'"), Failure.OUT_OF_DISK, "left on device"),
        (died(2, message="dp2o prepare: [Errno 122] Disk quota exceeded"), Failure.OUT_OF_DISK, "exit code 2"),
        (died(75, message="[Errno 28] No space left on device; tried again"), Failure.RESUME_LATER, "exit code 75"),
        (died(3), Failure.REFUSED, "exit code 3"),
        (died(65), Failure.CORRUPT_INPUT, "exit code 65"),
        (died(75), Failure.RESUME_LATER, "exit code 75"),
        (died(137, "OOMKilled"), Failure.OUT_OF_MEMORY, "OOMKilled"),
        (died(1, "OOMKilled"), Failure.OUT_OF_MEMORY, "OOMKilled"),
        (died(137), Failure.OUT_OF_MEMORY, "exit code 137"),  # a child of the first process, killed for memory
        (died(128, "StartError", "exec: python: not found"), Failure.CRASHED, "exit code 128 (StartError)"),
        (died(143, metadata={"deletionTimestamp": "t"}), Failure.EVICTED, "deleted while it ran, exit code 143"),
        (died(137, metadata={"deletionTimestamp": "t"}), Failure.EVICTED, "deleted while it ran"),
        (died(75, metadata={"deletionTimestamp": "t"}), Failure.RESUME_LATER, "exit code 75"),
        (
            died(
                143,
                conditions=[
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "PreemptionByScheduler",
                        "message": "for y",
                    }
                ],
            ),
            Failure.EVICTED,
            "PreemptionByScheduler: for y",
        ),
        (pod("Failed", reason="Evicted", message="The node was low on memory"), Failure.EVICTED, "low on memory"),
        (
            pod("Failed", reason="Evicted", message='Usage of EmptyDir volume "workspace" exceeds the limit "100Gi". '),
            Failure.OUT_OF_DISK,
            'volume "workspace" exceeds the limit "100Gi".',
        ),
        (
            pod(
                "Failed",
                reason="Evicted",
                message="Pod ephemeral local storage usage exceeds the total limit of containers 2Gi. ",
            ),
            Failure.OUT_OF_DISK,
            "exceeds the total limit",
        ),
        (
            pod(
                "Failed",
                reason="Evicted",
                message="The node was low on resource: ephemeral-storage. Container stage was "
                "using 90Gi, which exceeds its request of 1Gi. ",
            ),
            Failure.EVICTED,
            "low on resource",
        ),
        (pod("Failed", reason="OutOfnvidia.com/gpu", message="no room"), Failure.EVICTED, "no room"),
        (died(137, reason="ContainerStatusUnknown"), Failure.EVICTED, "does not know"),
        (
            pod("Failed", reason="DeadlineExceeded", message="Pod was active longer"),
            Failure.DEADLINE_EXCEEDED,
            "longer",
        ),
    ],
)
def test_why_a_pod_failed(of_pod: Json, failure: Failure, text: str) -> None:
    outcome = classify.outcome_of(FAILED, [of_pod])
    assert (outcome.state, outcome.failure) == (State.FAILED, failure)
    assert text in outcome.detail


def test_the_newest_pod_that_failed_says_why() -> None:
    old = died(143, metadata={"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "t"})
    new = died(2, metadata={"name": "b", "creationTimestamp": "2026-01-01T00:01:00Z"})
    assert classify.outcome_of(FAILED, [new, old]).failure is Failure.BAD_INPUT


def test_the_jobs_own_deadline_and_a_job_without_pods() -> None:
    late = classify.outcome_of(job("Failed", reason="DeadlineExceeded", message="Job was active longer"), [died(143)])
    assert (late.failure, late.detail) == (Failure.DEADLINE_EXCEEDED, "DeadlineExceeded: Job was active longer")
    assert classify.outcome_of(FAILED, []).failure is Failure.CRASHED
    assert classify.outcome_of(FAILED, [pod(metadata={"deletionTimestamp": "t"})]).failure is Failure.EVICTED
    assert classify.outcome_of(job("Complete"), [died(1)]).state is State.SUCCEEDED


@pytest.mark.parametrize(
    ("of_pod", "failure"),
    [
        (waiting("ErrImagePull", "manifest unknown"), Failure.IMAGE_PULL),
        (waiting("ImagePullBackOff"), Failure.IMAGE_PULL),
        (waiting("InvalidImageName"), Failure.IMAGE_PULL),
        (waiting("CreateContainerConfigError", 'secret "dp2o-s3" not found'), Failure.REJECTED),
        (unschedulable("0/1 nodes are available: 1 Insufficient nvidia.com/gpu."), Failure.UNSCHEDULABLE),
        (waiting("ContainerCreating"), None),
        (pod("Pending", [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]), None),
        (pod(), None),
    ],
)
def test_what_keeps_a_pod_from_starting(of_pod: Json, failure: Failure | None) -> None:
    trouble = classify.trouble_of(of_pod)
    assert (trouble and trouble[0]) == failure


def test_a_disruption_is_told_as_that_and_not_by_the_traceback_it_left() -> None:
    traceback = "Traceback (most recent call last): torch.distributed.elastic SignalException: got signal: 15"
    gone = died(75, message=traceback, conditions=EVICTED)
    outcome = classify.failure_of(gone)
    assert (outcome.failure, outcome.exit_code) == (Failure.EVICTED, 75)
    assert outcome.detail == "pod j-x on node n1: TerminationByKubelet: node shuts down; it saved what it had"


def test_what_the_scheduler_says() -> None:
    old = "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 Insufficient memory."
    assert classify.missing_resources(old) == {"nvidia.com/gpu", "memory"}
    assert not classify.waits_for_others(old)
    assert classify.missing_resources("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity.") == set()
    # Since 1.34 of a node that others fill; before of any with too little, also of one that is too small when empty.
    others_have_it = (
        "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available: "
        "1 No preemption victims found for incoming pod."
    )
    assert classify.waits_for_others(others_have_it)
    # Since 1.34 of a node that is too small; before only of what has nothing to do with resources.
    too_small = (
        "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. no new claims to deallocate, preemption: 0/1 nodes "
        "are available: 1 Preemption is not helpful for scheduling."
    )
    assert not classify.waits_for_others(too_small)
    assert classify.missing_resources(too_small) == classify.missing_resources(others_have_it) == {"nvidia.com/gpu"}


@pytest.mark.parametrize(
    ("reason", "never"),
    [
        ("couldn't assign flavors to pod set main: resource ephemeral-storage unavailable in ClusterQueue", True),
        ("couldn't assign flavors to pod set main: insufficient quota for nvidia.com/gpu in flavor a, request > "
         "maximum capacity (8 > 0)", True),
        ("couldn't assign flavors to pod set main: insufficient quota for nvidia.com/gpu in flavor a, previously "
         "considered podsets requests (0) + current podset request (8) > maximum capacity (4)", True),
        ("LocalQueue dp2o doesn't exist", True),
        ("couldn't assign flavors to pod set main: insufficient quota for nvidia.com/gpu in flavor a, request > "
         "maximum capacity (8 > 0), insufficient unused quota for nvidia.com/gpu in flavor b, 2 more needed", False),
        ("couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor a, 1 more needed",
         False),
        ("ClusterQueue dp2o is inactive", False),  # held by an administrator, who will let it go
        ("Workload no longer fits after processing another workload", False),
        ("Preempted to accommodate a higher priority Workload", False),
    ],
)  # fmt: skip
def test_what_kueue_says_is_for_now_or_for_ever(reason: str, never: bool) -> None:
    assert classify.is_never_admitted(reason) is never


def test_kueues_reason_is_that_of_the_jobs_own_workload() -> None:
    job = {"metadata": {"uid": "1"}}
    owned = {"metadata": {"ownerReferences": [{"uid": "1"}]}}
    reserved = {"type": "QuotaReserved", "status": "True", "message": "Quota reserved in ClusterQueue dp2o"}
    checks = {"type": "Admitted", "status": "False", "reason": "NoReservation", "message": ""}
    assert classify.not_admitted({**owned, "status": {"conditions": [reserved]}}, job) is None
    assert classify.not_admitted({**owned, "status": {"conditions": [reserved, checks]}}, job) == "NoReservation"
    waits = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": "no room"}
    assert classify.not_admitted({**owned, "status": {"conditions": [waits]}}, job) == "no room"
    assert classify.not_admitted({"metadata": {}, "status": {"conditions": [waits]}}, job) is None
    assert classify.not_admitted(owned, job) is None


def test_who_holds_a_resource() -> None:
    holder = pod()
    holder["spec"]["containers"] = [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}, {}]
    assert classify.holds(holder, {"nvidia.com/gpu"})
    assert not classify.holds(holder, {"amd.com/gpu"})
    assert not classify.holds({**holder, "status": {"phase": "Succeeded"}}, {"nvidia.com/gpu"})
    assert not classify.holds({**holder, "spec": {**holder["spec"], "nodeName": None}}, {"nvidia.com/gpu"})


@pytest.mark.parametrize(
    ("refusal", "waiting_helps"),
    [
        ("exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=2, "
         "limited: requests.nvidia.com/gpu=2", True),
        ("exceeded quota: gpus, requested: requests.nvidia.com/gpu=3, used: requests.nvidia.com/gpu=0, "
         "limited: requests.nvidia.com/gpu=2", False),
        ("exceeded quota: q, requested: limits.memory=8Gi,requests.cpu=500m, used: limits.memory=0,requests.cpu=4, "
         "limited: limits.memory=10Gi,requests.cpu=4", True),
        ("exceeded quota: q, requested: limits.memory=80Gi,requests.cpu=1, used: limits.memory=0,requests.cpu=0, "
         "limited: limits.memory=10Gi,requests.cpu=4", False),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest"', False),
    ],
)  # fmt: skip
def test_a_quota_that_others_use_up_is_a_queue(refusal: str, waiting_helps: bool) -> None:
    assert classify.is_over_quota_for_now(f'Error creating: pods "x" is forbidden: {refusal}') is waiting_helps


# ---- several pods of one Job


def of_index(index: int, given: Json, **metadata: object) -> Json:
    labels = {"batch.kubernetes.io/job-completion-index": str(index)}
    return {**given, "metadata": {**given["metadata"], "name": f"j-{index}", "labels": labels, **metadata}}


DELETED = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
EVICTED = [
    {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": "node shuts down"}
]


@pytest.mark.parametrize(
    ("first", "second", "failure"),
    [
        (died(1), died(2), Failure.BAD_INPUT),
        (died(75), died(65), Failure.CORRUPT_INPUT),
        (died(1), died(137, "OOMKilled"), Failure.OUT_OF_MEMORY),
        (died(1), died(143, conditions=EVICTED), Failure.EVICTED),
        (died(75), died(137, conditions=EVICTED), Failure.EVICTED),
        (died(75), died(75, conditions=EVICTED), Failure.EVICTED),
        (died(1), died(75, conditions=EVICTED), Failure.EVICTED),  # it left while the other waited for it
        (died(75), died(1), Failure.CRASHED),  # the Job's end stopped the first
        (died(137, metadata=DELETED), died(1), Failure.CRASHED),  # likewise, and it did not stop in time
        (died(75, metadata=DELETED), died(1), Failure.CRASHED),
        (died(75, metadata=DELETED), died(75, metadata=DELETED), Failure.RESUME_LATER),
        (died(1), pod(), Failure.CRASHED),
        (died(1), pod("Succeeded"), Failure.CRASHED),
    ],
)
def test_of_pods_that_end_together_the_cause_counts(first: Json, second: Json, failure: Failure) -> None:
    for pods in ([of_index(0, first), of_index(1, second)], [of_index(0, second), of_index(1, first)]):
        assert classify.outcome_of(FAILED, pods).failure is failure


def test_several_pods_run_when_all_do() -> None:
    both = job()
    both["spec"]["parallelism"] = 2
    assert classify.state_of(both, [pod()]) is State.PENDING  # a quota holds the other back
    assert classify.state_of(both, [pod(), pod("Pending")]) is State.PENDING
    assert classify.state_of(both, [pod(), pod()]) is State.RUNNING
    assert classify.state_of(both, [pod(), pod("Succeeded")]) is State.RUNNING
    assert classify.state_of(both, [pod(), died(1)]) is State.RUNNING


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        ('Usage of EmptyDir volume "work" exceeds the limit "20Gi". ', Failure.OUT_OF_DISK),
        ("Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ", Failure.OUT_OF_DISK),
        ("Container stage exceeded its local ephemeral storage limit 1Gi. ", Failure.OUT_OF_DISK),
        ("The node was low on resource: ephemeral-storage. Threshold quantity: 1, available: 0. ", Failure.EVICTED),
        ("The node was low on resource: memory. ", Failure.EVICTED),
    ],
)
def test_who_fills_its_own_disk_is_no_victim(message: str, failure: Failure) -> None:
    of_pod = died(137)
    of_pod["status"] |= {"reason": "Evicted", "message": message}
    outcome = classify.failure_of(of_pod)
    assert outcome.failure is failure
    assert message.strip() in outcome.detail
    assert (following([failure]) is None) is (failure is Failure.OUT_OF_DISK)
