"""What a Job's and its pods' status mean: pure functions of what the API server says."""

import re
from collections.abc import Sequence

from kubernetes.utils.quantity import parse_quantity

from components.errors import ExitCode
from flows.launchers.api import Json
from flows.launchers.base import BY_EXIT_CODE, Failure, Outcome, State, failure_by
from flows.launchers.job_template import INDEX

IMAGE_REASONS = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
CONTAINER_REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PostStartHookError"}
"""Why a container waits that will not start by itself: the image, or what the template asks for (a missing Secret)."""

TEXT = 1000
"""Characters of a container's last words in a failure's detail."""


def slim_job(job: Json) -> Json:
    """What is looked at; the rest of a thousand Jobs is not worth its memory."""
    return {
        "metadata": _slim_metadata(job),
        "spec": {key: job["spec"][key] for key in ("suspend", "parallelism") if key in (job.get("spec") or {})},
        "status": job.get("status") or {},
    }


def slim_pod(pod: Json) -> Json:
    """What is looked at."""
    return {
        "metadata": _slim_metadata(pod),
        "spec": {"nodeName": (pod.get("spec") or {}).get("nodeName")},
        "status": pod.get("status") or {},
    }


def _slim_metadata(item: Json) -> Json:
    keep = ("name", "uid", "resourceVersion", "labels", "creationTimestamp", "deletionTimestamp", "ownerReferences")
    return {key: item["metadata"][key] for key in keep if key in item["metadata"]}


def job_of(pod: Json) -> str | None:
    """Name of the Job that owns the pod."""
    for owner in pod["metadata"].get("ownerReferences") or ():
        if owner["kind"] == "Job":
            return str(owner["name"])
    return None


def belongs(pod: Json, job: Json) -> bool:
    """By uid: a Job that was deleted may have left pods to one of the same name."""
    return any(owner["uid"] == job["metadata"]["uid"] for owner in pod["metadata"].get("ownerReferences") or ())


def condition(item: Json, kind: str) -> Json | None:
    """The object's condition of that type, if its status is True."""
    for found in item["status"].get("conditions") or ():
        if found["type"] == kind and found["status"] == "True":
            return dict(found)
    return None


def end_of(job: Json) -> Json | None:
    """The condition that says the Job has ended. Suspended, SuccessCriteriaMet and FailureTarget do not."""
    return condition(job, "Complete") or condition(job, "Failed")


def state_of(job: Json, pods: Sequence[Json]) -> State:
    """Where the Job is.

    Args:
        job: as the API server gives it.
        pods: its own, as far as they are there.
    """
    ends = {"Complete": State.SUCCEEDED, "Failed": State.FAILED}
    for kind, state in {**ends, "SuccessCriteriaMet": State.FINISHING, "FailureTarget": State.FINISHING}.items():
        if condition(job, kind):
            return state
    if "deletionTimestamp" in job["metadata"]:
        return State.FINISHING
    if any(is_running(pod) for pod in pods) and not is_short_of_pods(job, pods, ("Pending", "Unknown")):
        return State.RUNNING
    if job["spec"].get("suspend") or condition(job, "Suspended"):
        return State.QUEUED
    coming = any("deletionTimestamp" not in pod["metadata"] and phase(pod) in {"Pending", "Unknown"} for pod in pods)
    over = any(phase(pod) in {"Succeeded", "Failed"} for pod in pods)
    return State.FINISHING if over and not coming else State.PENDING


def is_short_of_pods(job: Json, pods: Sequence[Json], not_counted: Sequence[str] = ()) -> bool:
    """Whether fewer are there than the Job wants at once, those of some phases not counted."""
    return sum(phase(pod) not in not_counted for pod in pods) < int(job["spec"].get("parallelism", 1))


def phase(pod: Json) -> str:
    """Pending, Running, Succeeded, Failed or Unknown."""
    return str(pod["status"].get("phase", "Pending"))


def is_running(pod: Json) -> bool:
    """Whether the kubelet says that a container runs."""
    return phase(pod) == "Running"


def has_started(pod: Json) -> bool:
    """Whether there is a log to read."""
    return any(
        "running" in status.get("state", {}) or "terminated" in status.get("state", {})
        for status in pod["status"].get("containerStatuses") or ()
    )


def trouble_of(pod: Json) -> tuple[Failure, str] | None:
    """What keeps the pod from starting and will not go away by waiting alone; None if there is nothing."""
    if phase(pod) != "Pending" or "deletionTimestamp" in pod["metadata"]:
        return None
    statuses = [*(pod["status"].get("initContainerStatuses") or ()), *(pod["status"].get("containerStatuses") or ())]
    for status in statuses:
        waiting = status.get("state", {}).get("waiting") or {}
        reason, text = waiting.get("reason"), waiting.get("message", "")
        if reason in IMAGE_REASONS:
            return Failure.IMAGE_PULL, f"{reason}: {text}"
        if reason in CONTAINER_REASONS:
            return Failure.REJECTED, f"{reason}: {text}"
    for found in pod["status"].get("conditions") or ():
        if found["type"] == "PodScheduled" and found["status"] == "False" and found.get("reason") == "Unschedulable":
            return Failure.UNSCHEDULABLE, str(found.get("message", "Unschedulable"))
    return None


def missing_resources(scheduler_says: str) -> set[str]:
    """Names of what nodes have too little of: `0/1 nodes are available: 1 Insufficient nvidia.com/gpu.`"""
    return {name.rstrip(".") for name in re.findall(r"Insufficient ([\w./-]+)", scheduler_says)}


def waits_for_others(scheduler_says: str) -> bool:
    """Whether the scheduler itself says that room would do: some node fits but for those who are on it.

    Schedulers before 1.34 say the same of a node that is too small when it is empty.
    """
    return "No preemption victims found" in scheduler_says


NEVER_ADMITTED = ("doesn't exist", "unavailable in ClusterQueue", "> maximum capacity", "insufficient quota for")
"""Of Kueue's reasons: no end of another workload helps. Kueue names one for each flavor; `insufficient unused quota` of
one of them is enough to wait for."""


def not_admitted(workload: Json, job: Json) -> str | None:
    """Kueue's reason in a Workload for not admitting this Job; None if it is another's, or is admitted."""
    owners = workload["metadata"].get("ownerReferences") or ()
    if all(owner["uid"] != job["metadata"]["uid"] for owner in owners):
        return None
    found = {one["type"]: one for one in (workload.get("status") or {}).get("conditions") or ()}
    for kind in ("QuotaReserved", "Admitted"):
        if kind in found and found[kind]["status"] == "False":
            return str(found[kind].get("message") or found[kind].get("reason", ""))
    return None


def is_never_admitted(reason: str) -> bool:
    """Whether the queue, as it is, can never admit what it says this of."""
    return "insufficient unused quota" not in reason and any(text in reason for text in NEVER_ADMITTED)


def holds(pod: Json, resources: set[str]) -> bool:
    """Whether a pod (whole, with its spec) is on a node and has one of these."""
    if phase(pod) in {"Succeeded", "Failed"} or not pod["spec"].get("nodeName"):
        return False
    for container in pod["spec"].get("containers") or ():
        given = container.get("resources") or {}
        if resources & ({**(given.get("limits") or {}), **(given.get("requests") or {})}).keys():
            return True
    return False


def is_over_quota_for_now(refusal: str) -> bool:
    """Whether a refusal to create is a quota that others use up, so that waiting helps.

    `exceeded quota: q, requested: requests.x=1, used: requests.x=2, limited: requests.x=2`; asking for more than the
    whole quota never passes.
    """
    parts = [re.search(rf"{word}: (\S+=.*?)(?:, \w+: |$)", refusal) for word in ("requested", "limited")]
    if "exceeded quota" not in refusal or None in parts:
        return False
    requested, limited = (dict(pair.split("=", 1) for pair in part[1].split(",")) for part in parts if part)
    try:
        return all(parse_quantity(value) <= parse_quantity(limited[name]) for name, value in requested.items())
    except (KeyError, ValueError):
        return False


def outcome_of(job: Json, pods: Sequence[Json]) -> Outcome:
    """How a Job ended that has a condition saying so.

    Args:
        job: with Complete or Failed.
        pods: its own, also those that are gone, as they were last.
    """
    if condition(job, "Complete"):
        return Outcome(State.SUCCEEDED, exit_code=0)
    end = condition(job, "Failed") or {}
    told = f"{end.get('reason', 'Failed')}: {end.get('message', '')}".strip(": ")
    if end.get("reason") == "DeadlineExceeded":
        return Outcome(State.FAILED, Failure.DEADLINE_EXCEEDED, told)
    newest_first = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True)
    failed = [pod for pod in newest_first if phase(pod) == "Failed" or _terminated(pod)]
    if failed:
        newest = {index_of(pod): pod for pod in reversed(failed)}
        return failure_of(min(newest.values(), key=_cause_order))
    if newest_first and "deletionTimestamp" in newest_first[0]["metadata"]:
        return Outcome(State.FAILED, Failure.EVICTED, f"pod {newest_first[0]['metadata']['name']} was deleted; {told}")
    return Outcome(State.FAILED, Failure.CRASHED, f"{told}; its pod is gone, and nothing is known of it")


def index_of(pod: Json) -> str:
    """Which of an Indexed Job's pods it is; `0` for any other Job's."""
    return str((pod["metadata"].get("labels") or {}).get(INDEX, "0"))


_OWN_DISK = re.compile(r"exceeds the (total )?limit|exceeded its local ephemeral storage limit")
"""In the kubelet's words for a pod that filled its own volumes; of a full node it speaks of requests."""

CAUSES = (
    {Failure.BAD_INPUT, Failure.CORRUPT_INPUT, Failure.REFUSED},
    {Failure.OUT_OF_MEMORY, Failure.OUT_OF_DISK},
    {Failure.EVICTED, Failure.DEADLINE_EXCEEDED},
    {Failure.CRASHED},
    {Failure.RESUME_LATER},
)
"""Of pods that end together, the first of these is why: who loses a peer crashes, who is stopped wants to resume."""


def _cause_order(pod: Json) -> tuple[bool, int]:
    """Order of pods that ended together: first the one that is the cause. The Job's end deletes the others."""
    disrupted = condition(pod, "DisruptionTarget") is not None
    failure = failure_of(pod).failure
    place = next(number for number, causes in enumerate(CAUSES) if failure in causes)
    return "deletionTimestamp" in pod["metadata"] and not disrupted, place


def failure_of(pod: Json) -> Outcome:
    """Why a pod failed."""
    status = pod["status"]
    node = f" on node {pod['spec']['nodeName']}" if pod["spec"].get("nodeName") else ""
    where = f"pod {pod['metadata']['name']}{node}"
    end = _terminated(pod) or {}
    code = end.get("exitCode")
    if status.get("reason") == "DeadlineExceeded":
        failure, text = Failure.DEADLINE_EXCEEDED, f"{where}: {status.get('message') or 'DeadlineExceeded'}"
    elif status.get("reason") == "Evicted" and _OWN_DISK.search(status.get("message", "")):
        failure, text = Failure.OUT_OF_DISK, f"{where}: {status['message'].strip()}"
    elif end.get("reason") == "OOMKilled":
        failure, text = Failure.OUT_OF_MEMORY, f"{where}: OOMKilled, exit code {code}"
    elif code == ExitCode.RESUME and (told := _announced_disruption(pod)) is not None:  # that is why it stopped
        failure, text = Failure.EVICTED, f"{where}: {told}; it saved what it had"
    elif code in BY_EXIT_CODE and code != 137:  # the process's own word counts, whatever made it stop
        failure, text = failure_by(code, str(end.get("message") or "")), _words(where, end)
    elif (disruption := _disruption(pod, end)) is not None:
        failure, text = Failure.EVICTED, f"{where}: {disruption}"
    else:
        failure, text = failure_by(code or 1, str(end.get("message") or "")), _words(where, end)
    return Outcome(State.FAILED, failure, text, code)


def _disruption(pod: Json, end: Json) -> str | None:
    """What ended the pod from outside; None if the process ended by itself."""
    told = _announced_disruption(pod)
    if told is not None:
        return told
    if "deletionTimestamp" in pod["metadata"]:
        return f"it was deleted while it ran, exit code {end.get('exitCode')}"
    if not end or end.get("reason") == "ContainerStatusUnknown":
        return "the node does not know how its container ended"
    return None


def _announced_disruption(pod: Json) -> str | None:
    """What Kubernetes says that it did to the pod."""
    status = pod["status"]
    target = condition(pod, "DisruptionTarget")
    if target:
        return f"{target.get('reason', 'DisruptionTarget')}: {target.get('message', '')}"
    if status.get("reason"):  # Evicted, Preempting, NodeLost, Shutdown, OutOfcpu …: the kubelet's doing
        return f"{status['reason']}: {status.get('message', '')}"
    return None


def _terminated(pod: Json) -> Json | None:
    """How its first container ended that did not end well."""
    statuses = [*(pod["status"].get("initContainerStatuses") or ()), *(pod["status"].get("containerStatuses") or ())]
    for status in statuses:
        end = status.get("state", {}).get("terminated")
        if end and end.get("exitCode") != 0:
            return dict(end)
    return None


def _words(where: str, end: Json) -> str:
    """Exit code, and what the container said last."""
    reason = end.get("reason", "")
    named = "" if reason in {"", "Error"} else f" ({reason})"
    said = str(end.get("message") or "").strip()[-TEXT:]
    return f"{where}: exit code {end.get('exitCode')}{named}" + (f"; it said last:\n{said}" if said else "")
