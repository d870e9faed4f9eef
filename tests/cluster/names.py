"""Names of Services, for a cluster that has neither DNS nor kube-proxy.

As for a headless Service, a name is the addresses of the pods that are ready: what selects no pod, or only pods whose
readiness probe fails, has none, as on any cluster. A Service's port has to be its pods' own, which the caller checks.
"""

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from flows.launchers.api import ApiUnavailableError
from tests.cluster.slices import Slices

SUFFIX = ".svc.cluster.local"
A, IN = 1, 1
RESPONSE, AUTHORITATIVE, RECURSION = 0x8000, 0x0400, 0x0180
NO_SUCH_NAME = 3


def addresses(core: client.CoreV1Api, slices: Slices, name: str) -> list[str] | None:
    """Of `service.namespace.svc.cluster.local`; None where there is no such Service."""
    service, _, namespace = name.lower().removesuffix(SUFFIX).partition(".")
    if not name.lower().endswith(SUFFIX) or not namespace or "." in namespace:
        return None
    try:
        core.read_namespaced_service(service, namespace, _request_timeout=5)
        return [one.address for one in slices.of(service, namespace)]
    except (ApiException, ApiUnavailableError):
        return None


def question(packet: bytes) -> tuple[str, int, bytes]:
    """Name, type and raw bytes of what is asked."""
    labels, at = [], 12
    while length := packet[at]:
        labels.append(packet[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    end = at + 5
    return ".".join(labels), struct.unpack("!H", packet[at + 1 : at + 3])[0], packet[12:end]


def answer(packet: bytes, core: client.CoreV1Api, slices: Slices) -> bytes:
    """The whole reply to a query."""
    name, kind, asked = question(packet)
    found = addresses(core, slices, name)
    # a name without an address of this type exists all the same: only then the resolver stops searching
    given = found or [] if kind == A else []
    flags = RESPONSE | AUTHORITATIVE | RECURSION | (NO_SUCH_NAME if found is None else 0)
    head = packet[:2] + struct.pack("!5H", flags, 1, len(given), 0, 0)
    # 0xc00c: the name of the question; nobody may keep it, pods come and go
    records = [struct.pack("!HHHIH", 0xC00C, A, IN, 0, 4) + bytes(map(int, one.split("."))) for one in given]
    return head + asked + b"".join(records)


@contextmanager
def serve(host: str, core: client.CoreV1Api) -> Iterator[None]:
    """Answer on port 53 of an address that pods reach."""
    slices = Slices()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            packet, reply = self.request
            reply.sendto(answer(packet, core, slices), self.client_address)

    class Server(socketserver.ThreadingUDPServer):
        daemon_threads = True

    with Server((host, 53), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
