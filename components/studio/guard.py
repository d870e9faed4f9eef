"""Who may talk to the page's server: this page alone.

A server on this machine can be reached by all pages that a browser shows. One of another site can send requests without
reading the answers (cross-site requests), and read them as well where its name is made to lead to this machine (DNS
rebinding). So a request has to name this machine as its host, and to come from this page.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Mapping

from components.serving.limited import App, Message, Receive, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every answer: nothing but this server's own, in no frame, kept nowhere."""


class Guard:
    """An ASGI application that lets requests of this server's own page through, and answers others with 403.

    Programs that send neither Origin nor Sec-Fetch-Site, as curl, are no browser, and pass.

    Args:
        host: address that is listened on.
    """

    def __init__(self, app: App, host: str) -> None:
        self._app = app
        self._names = LOOPBACK if is_local(host) else LOOPBACK | {host.lower(), socket.gethostname().lower()}
        self._addresses = not is_local(host)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        problem = self._problem(scope["method"], scope["path"], headers)
        if problem:
            await _refuse(send, problem)
            return

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(key.encode(), value.encode()) for key, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        await self._app(scope, receive, hardened)

    def _problem(self, method: str, path: str, headers: Mapping[str, str]) -> str:
        """Why a request is refused; empty where it is not."""
        host = headers.get("host", "")
        if not self._is_ours(_name_of(host)):
            return f"this server does not go by the name {host[:100]!r}: open the address that `dp2o studio` printed"
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            return "another site's page sent this"
        site = headers.get("sec-fetch-site", "none")
        opens = method == "GET" and path == "/" and headers.get("sec-fetch-mode") == "navigate"
        if site not in ("none", "same-origin") and not opens:  # a link to the page may stand anywhere
            return "another site's page sent this"
        return ""

    def _is_ours(self, name: str) -> bool:
        if name in self._names:
            return True
        return self._addresses and _is_address(name)  # an address cannot be made to lead elsewhere


def is_local(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _name_of(host: str) -> str:
    """Without the port: `[::1]:80` to `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


async def _refuse(send: Send, problem: str) -> None:
    content = json.dumps({"message": problem}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": content})
