"""An API server in memory in front of a FakeCluster: as much of Kubernetes' API as a launcher uses.

`python -m benchmarks.parts.fake_api [--seconds-a-job 0.5]` prints its URL; then every Job gets a pod that succeeds.
"""

import argparse
import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from benchmarks.parts.fake_cluster import API_VERSIONS, FakeCluster, Json, ignore


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
        kinds = "|".join(API_VERSIONS)
        found = re.fullmatch(rf"(?:.*/namespaces/[^/]+|/api/v1)/({kinds})(?:/([^/]+))?(/log)?", address.path)
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
            self._due.append((now, name, lambda name: ignore(self._cluster.pod(name, phase="Pending"))))
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


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parts.fake_api")
    parser.add_argument("--seconds-a-job", type=float, default=0.5)
    options = parser.parse_args()
    cluster = FakeCluster()
    Automatic(cluster, options.seconds_a_job)
    server = Server(cluster)
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
