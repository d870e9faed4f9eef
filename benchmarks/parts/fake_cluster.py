"""A Kubernetes API server in memory that speaks as much of the API as a launcher uses, and breaks when told to.

For what a real cluster cannot show here: a thousand Jobs at once, and failures at a chosen moment. Each object has the
server's own resource versions; watches resume from any version that is still remembered.

`python -m benchmarks.parts.fake_cluster [--seconds-a-job 0.5]` prints its URL; then every Job gets a pod that succeeds.
"""

import argparse
import json
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]

API_VERSIONS = {"jobs": "batch/v1", "pods": "v1", "events": "v1"}


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
        self.before: Callable[[str], None] = _ignore  # called with `VERB kind` before a change is carried out
        self.after: Callable[[str], None] = _ignore  # and between the change and its answer
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
            job["metadata"].update(uid=uuid.uuid4().hex, creationTimestamp=_now())
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
                "creationTimestamp": _now(),
                "ownerReferences": [{"kind": "Job", "name": job, "uid": owner["metadata"]["uid"]}],
            }
            spec = {**owner["spec"]["template"]["spec"]}
            if status.pop("scheduled", True):
                spec["nodeName"] = "node1"
            if status.pop("deleting", False):
                metadata["deletionTimestamp"] = _now()
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
            stamped = [f"{_now(nanoseconds=True)} {line}" for line in lines]
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


def _now(nanoseconds: bool = False) -> str:
    now = datetime.now(UTC)
    fraction = f".{now.microsecond:06d}{time.perf_counter_ns() % 1000:03d}" if nanoseconds else ""
    return f"{now:%Y-%m-%dT%H:%M:%S}{fraction}Z"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    cluster: FakeCluster

    def do_GET(self) -> None:
        """List, read, watch, log."""
        self._answer("GET")

    def do_POST(self) -> None:
        """Create."""
        self._answer("POST")

    def do_DELETE(self) -> None:
        """Delete."""
        self._answer("DELETE")

    def _answer(self, verb: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        found = re.fullmatch(r".*/namespaces/[^/]+/(jobs|pods|events)(?:/([^/]+))?(/log)?", address.path)
        if found is None:
            self._refuse(404, "NotFound", f"no such path: {address.path}")
            return
        kind, name, log = found.groups()
        called = "WATCH" if query.get("watch") else verb
        with self.cluster.changed:
            self.cluster.calls[f"{called} {'log' if log else kind}"] += 1
        fault = self.cluster.take_fault(f"{called} {address.path}")
        if fault is not None and fault.after:
            self._carry_out(verb, kind, name, body)
        if fault is not None:
            if fault.status:
                self._refuse(fault.status, fault.reason, fault.message, fault.headers)
            self.close_connection = True
        elif log:
            self._log(str(name), query)
        elif query.get("watch"):
            self._watch(kind, query)
        elif verb == "GET" and not name:
            self._list(kind, query)
        else:
            status, value = self._carry_out(verb, kind, name, body)
            self._send(status, value)

    def _carry_out(self, verb: str, kind: str, name: str | None, body: Json) -> tuple[int, Json]:
        self.cluster.before(f"{verb} {kind}")
        answer = self._change(verb, kind, name, body)
        self.cluster.after(f"{verb} {kind}")
        return answer

    def _change(self, verb: str, kind: str, name: str | None, body: Json) -> tuple[int, Json]:
        if verb == "POST":
            created = self.cluster.create_job(body)
            if created is None:
                return 409, _status(409, "AlreadyExists", f'jobs.batch "{body["metadata"]["name"]}" already exists')
            return 201, created
        found = self.cluster.objects[kind].get(str(name))
        if verb == "DELETE" and found is not None:
            uid = body.get("preconditions", {}).get("uid", found["metadata"]["uid"])
            if uid != found["metadata"]["uid"]:
                return 409, _status(409, "Conflict", "the UID in the precondition does not match")
            found = self.cluster.remove(kind, str(name))
        if found is None:
            return 404, _status(404, "NotFound", f'{kind} "{name}" not found')
        return 200, found

    def _matches(self, query: dict[str, str], item: Json) -> bool:
        labels = item["metadata"].get("labels") or {}
        wanted = (pair.partition("=") for pair in query.get("labelSelector", "").split(",") if pair)
        return all(labels.get(name) == value if is_value else name in labels for name, is_value, value in wanted)

    def _list(self, kind: str, query: dict[str, str]) -> None:
        with self.cluster.changed:
            items = [item for item in self.cluster.objects[kind].values() if self._matches(query, item)]
            start = int(query.get("continue", "0"))
            limit = int(query.get("limit", "0")) or len(items) or 1
            metadata = {"resourceVersion": str(self.cluster.version)}
            if start + limit < len(items):
                metadata["continue"] = str(start + limit)
            text = json.dumps({"metadata": metadata, "items": items[start : start + limit]})
        self._send_text(200, text)

    def _watch(self, kind: str, query: dict[str, str]) -> None:
        cluster = self.cluster
        version = int(query["resourceVersion"])
        deadline = time.monotonic() + float(query.get("timeoutSeconds", "60"))
        self._begin_chunks()
        with cluster.changed:
            epoch = cluster.epoch
            cluster.watching += 1
            if version < cluster.forgotten:
                self._chunk({"type": "ERROR", "object": _status(410, "Expired", "too old resource version")})
                deadline = 0.0
        position = 0
        try:
            while time.monotonic() < deadline:
                with cluster.changed:
                    if epoch != cluster.epoch:
                        self.close_connection = True
                        return  # without the last chunk: a broken connection
                    position = min(position, len(cluster.history))
                    news = cluster.history[position:]
                    position = len(cluster.history)
                    if not news:
                        cluster.changed.wait(min(1.0, max(0.0, deadline - time.monotonic())))
                        continue
                for number, of_kind, event, item in news:
                    if number > version and of_kind == kind and self._matches(query, item):
                        self._chunk({"type": event, "object": item})
            if cluster.bookmarks and deadline:
                at = {"metadata": {"resourceVersion": str(max(version, news_version(cluster)))}}
                self._chunk({"type": "BOOKMARK", "object": at})
            self._chunk(None)
        except OSError:
            self.close_connection = True
        finally:
            with cluster.changed:
                cluster.watching -= 1

    def _log(self, pod: str, query: dict[str, str]) -> None:
        cluster = self.cluster
        if pod not in cluster.objects["pods"]:
            self._refuse(404, "NotFound", f'pods "{pod}" not found')
            return
        since = query.get("sinceTime", "").rstrip("Z")
        self._begin_chunks()
        epoch, position = cluster.epoch, 0
        try:
            while True:
                with cluster.changed:
                    if epoch != cluster.epoch:
                        self.close_connection = True
                        return
                    lines = cluster.logs.get(pod, [])[position:]
                    position += len(lines)
                    status = cluster.objects["pods"].get(pod, {}).get("status", {})
                    is_over = query.get("follow") != "true" or status.get("phase") != "Running"
                    if not lines and not is_over:
                        cluster.changed.wait(1.0)
                        continue
                for line in lines:
                    if line[: len(since)] >= since:
                        self._piece((line if query.get("timestamps") else line.split(" ", 1)[1]) + "\n")
                if is_over:
                    break
            self._chunk(None)
        except OSError:
            self.close_connection = True

    def _begin_chunks(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, value: Json | None) -> None:
        self._piece("" if value is None else json.dumps(value) + "\n")

    def _piece(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _refuse(self, status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, _status(status, reason, message), headers)

    def _send(self, status: int, value: Json, headers: dict[str, str] | None = None) -> None:
        with self.cluster.changed:
            text = json.dumps(value)
        self._send_text(status, text, headers)

    def _send_text(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        data = text.encode()
        self.send_response(status)
        for name, content in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, content)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def news_version(cluster: FakeCluster) -> int:
    """The version a bookmark may name: all before it was sent."""
    return cluster.history[-1][0] if cluster.history else cluster.forgotten


def _status(code: int, reason: str, message: str) -> Json:
    return {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}


class Server(ThreadingHTTPServer):
    """The fake API server on a free port of the loopback."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, cluster: FakeCluster, port: int = 0) -> None:
        handler = type("Handler", (_Handler,), {"cluster": cluster})
        super().__init__(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """A client that went away is no news."""

    def start(self) -> "Server":
        """Serve from a thread."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self


class Automatic:
    """Gives every Job a pod that is pending, runs and succeeds, as a node with room for all would."""

    def __init__(self, cluster: FakeCluster, seconds: float) -> None:
        self._cluster, self._seconds = cluster, seconds
        self._due: list[tuple[float, str, Callable[[str], None]]] = []
        self._lock = threading.Condition()
        cluster.on_create = self._created
        threading.Thread(target=self._run, daemon=True).start()

    def _created(self, job: Json) -> None:
        name, now = job["metadata"]["name"], time.monotonic()
        with self._lock:
            self._due.append((now, name, lambda name: _ignore(self._cluster.pod(name, phase="Pending"))))
            self._due.append((now + 0.1, name, self._cluster.run))
            self._due.append((now + 0.1 + self._seconds, name, self._cluster.finish))
            self._lock.notify()

    def _run(self) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                ready = [item for item in self._due if item[0] <= now]
                self._due = [item for item in self._due if item[0] > now]
                if not ready:
                    self._lock.wait(0.05 if self._due else 1.0)
            for _, name, do in ready:
                if name in self._cluster.objects["jobs"]:
                    do(name)


def _ignore(_: object) -> None:
    pass


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parts.fake_cluster")
    parser.add_argument("--seconds-a-job", type=float, default=0.5)
    options = parser.parse_args()
    cluster = FakeCluster()
    Automatic(cluster, options.seconds_a_job)
    server = Server(cluster)
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
