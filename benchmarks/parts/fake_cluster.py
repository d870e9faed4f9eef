"""The state of a Kubernetes cluster in memory, as far as a launcher uses it; it breaks when told to.

For what a real cluster cannot show here: a thousand Jobs at once, and failures at a chosen moment. Each object has the
server's own resource versions; watches resume from any version that is still remembered.
"""

import json
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

API_VERSIONS = {
    "jobs": "batch/v1",
    "pods": "v1",
    "events": "v1",
    "workloads": "kueue.x-k8s.io/v1beta2",
    "nodes": "v1",
}


@dataclass
class Fault:
    """An answer that is given instead of the right one.

    Attributes:
        matches: regular expression of `VERB path`.
        status: 0 closes the connection without an answer.
        after: the request is carried out first, and only its answer is lost.
    """

    matches: str
    status: int
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "as told"
    reason: str = "InternalError"
    after: bool = False


class FakeCluster:
    """The state, and what tests do to it. All methods may be called from several threads."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.objects: dict[str, dict[str, Json]] = {kind: {} for kind in API_VERSIONS}
        self.history: list[tuple[int, str, str, Json]] = []  # version, kind, event, object
        self.version = 100
        self.forgotten = 0  # versions up to this one cannot be watched from
        self.epoch = 0  # watches of an older one end
        self.logs: dict[str, list[str]] = {}
        self.faults: list[Fault] = []
        self.calls: Counter[str] = Counter()
        self.created: Counter[str] = Counter()  # Jobs, by name
        self.on_create: Callable[[Json], None] | None = None
        self.before: Callable[[str], None] = ignore  # called with `VERB kind` before a change is carried out
        self.after: Callable[[str], None] = ignore  # and between the change and its answer
        self.watching = 0
        self.bookmarks = True

    def put(self, kind: str, item: Json) -> Json:
        """Create or replace."""
        with self.changed:
            name = item["metadata"]["name"]
            event = "MODIFIED" if name in self.objects[kind] else "ADDED"
            self.version += 1
            item["metadata"]["resourceVersion"] = str(self.version)
            self.objects[kind][name] = item
            self._note(kind, event, item)
            return item

    def _note(self, kind: str, event: str, item: Json) -> None:
        self.history.append((self.version, kind, event, json.loads(json.dumps(item))))
        self.changed.notify_all()

    def create_job(self, job: Json) -> Json | None:
        """As a POST does; None if the name is taken."""
        with self.changed:
            name = job["metadata"]["name"]
            if name in self.objects["jobs"]:
                return None
            job["metadata"].update(uid=uuid.uuid4().hex, creationTimestamp=now())
            job.setdefault("status", {})
            self.created[name] += 1
            self.put("jobs", job)
        if self.on_create is not None:
            self.on_create(job)
        return job

    def remove(self, kind: str, name: str) -> Json | None:
        """As a DELETE does: a Job's pods go with it."""
        with self.changed:
            item = self.objects[kind].pop(name, None)
            if item is None:
                return None
            self.version += 1
            item["metadata"]["resourceVersion"] = str(self.version)
            self._note(kind, "DELETED", item)
            if kind == "jobs":
                for pod in list(self.objects["pods"].values()):
                    if pod["metadata"]["ownerReferences"][0]["uid"] == item["metadata"]["uid"]:
                        self.remove("pods", pod["metadata"]["name"])
            return item

    def job(self, name: str, *conditions: str, suspend: bool = False, reason: str = "", message: str = "") -> Json:
        """Set a Job's conditions (`Complete`, or `Complete=False`)."""
        with self.changed:
            job: Json = json.loads(json.dumps(self.objects["jobs"][name]))
            job["spec"]["suspend"] = suspend
            job["status"]["conditions"] = [
                {
                    "type": kind.split("=")[0],
                    "status": kind.partition("=")[2] or "True",
                    "reason": reason,
                    "message": message,
                }
                for kind in conditions
            ]
            return self.put("jobs", job)

    def pod(self, job: str, name: str = "", **status: Any) -> Json:
        """Set the status of a Job's pod, made if it is not there; `index`: which of an Indexed Job's it is."""
        with self.changed:
            owner = self.objects["jobs"][job]
            index = status.pop("index", None)
            name = name or (f"{job}-pod" if index is None else f"{job}-{index}")
            metadata = {
                "name": name,
                "uid": self.objects["pods"].get(name, {}).get("metadata", {}).get("uid", uuid.uuid4().hex),
                "labels": owner["spec"]["template"]["metadata"]["labels"]
                | ({} if index is None else {"batch.kubernetes.io/job-completion-index": str(index)}),
                "creationTimestamp": now(),
                "ownerReferences": [{"kind": "Job", "name": job, "uid": owner["metadata"]["uid"]}],
            }
            spec = {**owner["spec"]["template"]["spec"]}
            if status.pop("scheduled", True):
                spec["nodeName"] = "node1"
            if status.pop("deleting", False):
                metadata["deletionTimestamp"] = now()
            return self.put("pods", {"metadata": metadata, "spec": spec, "status": status})

    def run(self, job: str) -> None:
        """Its pod runs."""
        self.pod(job, phase="Running", containerStatuses=[{"name": "stage", "state": {"running": {}}}])

    def finish(self, job: str, code: int = 0, reason: str = "", message: str = "") -> None:
        """Its pod ends, and then the Job."""
        end = {"exitCode": code, "reason": reason or ("Error" if code else "Completed"), "message": message}
        statuses = [{"name": "stage", "state": {"terminated": end}}]
        self.pod(job, phase="Failed" if code else "Succeeded", containerStatuses=statuses)
        self.job(job, "Failed" if code else "Complete", reason="BackoffLimitExceeded" if code else "")

    def write(self, job: str, *lines: str, pod: str = "") -> None:
        """Lines into the log of its pod, each with the time it is written."""
        with self.changed:
            stamped = [f"{now(nanoseconds=True)} {line}" for line in lines]
            self.logs.setdefault(pod or f"{job}-pod", []).extend(stamped)
            self.changed.notify_all()

    def fail(self, matches: str, status: int, times: int = 1, **more: Any) -> None:
        """Answer the next requests that match with an error."""
        with self.changed:
            self.faults.append(Fault(matches, status, times, **more))

    def drop_watches(self) -> None:
        """Break the connections of all watches and followed logs."""
        with self.changed:
            self.epoch += 1
            self.changed.notify_all()

    def forget(self) -> None:
        """Break all watches, and let none resume: 410 Gone."""
        with self.changed:
            self.version += 1
            self.forgotten = self.version
            self.history.clear()
            self.drop_watches()

    def take_fault(self, request: str) -> Fault | None:
        """The fault that is due for it."""
        with self.changed:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.matches, request):
                    fault.times -= 1
                    return fault
            return None


def now(nanoseconds: bool = False) -> str:
    at = datetime.now(UTC)
    fraction = f".{at.microsecond:06d}{time.perf_counter_ns() % 1000:03d}" if nanoseconds else ""
    return f"{at:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def ignore(_: object) -> None:
    pass
