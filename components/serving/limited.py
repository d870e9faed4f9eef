"""The limits of a request where its body arrives, in front of MLflow's scoring app, or another.

MLflow's app reads a whole body and makes objects and a table of it before it calls the model: many times the body's
size, whatever the model allows. Here a body that is too long is refused while it arrives, what would make too many
objects is refused unparsed, and only so many requests hold memory at once as may be worked on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from components.serving.limits import VARIABLE, ServingLimits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
"""An application as the ASGI specification has it."""

PATH = "/invocations"
JSON, CSV = "application/json", "text/csv"
OPENERS = {JSON: b",[{", CSV: b",\n\r"}
"""Bytes of which at least one comes with each value beyond the first; base64 has none of them, so that a count of them
bounds what a parser makes, at the cost of a look at the bytes."""
LINGER_SECONDS = 30.0
"""As nginx does."""
VALUES_A_ROW = 1000
"""Commas of a prompt count as well."""


class Refused(Exception):
    """A request that is answered without the model."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Gone(Exception):
    """Whoever asked has left."""


class _Incoming:
    """A request's messages; `ended` once there is no more of its body."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self.ended = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message


@dataclass(frozen=True)
class Door:
    """Requests with a body.

    Attributes:
        path: that they are sent to, by POST.
        checks: what looks at a body, by content type; it raises Refused. Other types are refused.
        max_body: bytes.
        too_long: for who sends more: the limit's name, and what to do.
        setting: start of the names under which a person sets the other limits; empty where nobody can.
    """

    path: str
    checks: Mapping[str, Callable[[bytes], None]]
    max_body: int
    too_long: str
    setting: str = ""

    def named(self, limit: str) -> str:
        """The limit's name in a message."""
        return f" ({self.setting}{limit})" if self.setting else ""


def invocations(limits: ServingLimits) -> Door:
    """MLflow's."""
    return Door(
        PATH,
        {kind: lambda body, kind=kind: check(body, kind, limits) for kind in OPENERS},  # type: ignore[misc]
        limits.max_body,
        f"which is max_bytes {limits.max_bytes} ({VARIABLE}MAX_BYTES) in base64 and some for the rest: send fewer or "
        "smaller pictures",
        VARIABLE,
    )


class Limited:
    """An ASGI application that lets through what is within `limits`.

    It answers 413 (too long), 408 (too slow), 415 (another content type), 429 (too many wait) and what the door's
    checks say, each with a message that names the limit.

    Args:
        door: that is watched; all other requests pass.
    """

    def __init__(self, app: App, limits: ServingLimits, door: Door) -> None:
        self._app, self._limits, self._door = app, limits, door
        self._working = asyncio.Semaphore(limits.concurrency)
        self._inside = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._door.path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        incoming = _Incoming(receive)
        try:
            await self._in_turn(scope, incoming, send)
        except Refused as refused:
            await _answer(send, refused, incoming)
        except _Gone:
            return

    async def _in_turn(self, scope: Message, receive: Receive, send: Send) -> None:
        limits, door, headers = self._limits, self._door, dict(scope["headers"])
        kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        if kind not in door.checks:
            raise Refused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "BAD_REQUEST",
                f"content type {kind[:100] or 'is missing'}: send {', or '.join(door.checks)}",
            )
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > door.max_body:
            raise self._too_long()
        if self._inside >= limits.concurrency + limits.waiting:
            message = f"{limits.waiting} requests are waiting already{door.named('WAITING')}: ask again later"
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "REQUEST_LIMIT_EXCEEDED", message)
        self._inside += 1
        try:
            async with self._working:  # who waits holds no more than the connection's buffer
                body = await self._body(receive)
                await asyncio.to_thread(door.checks[kind], body)
                once = [body]
                del body

                async def replayed() -> Message:
                    return {"type": "http.request", "body": once.pop()} if once else await receive()

                await self._app(scope, replayed, send)
        finally:
            self._inside -= 1

    async def _body(self, receive: Receive) -> bytes:
        limits, read, size = self._limits, list[bytes](), 0
        try:
            async with asyncio.timeout(limits.seconds_a_body):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    read.append(message.get("body", b""))
                    size += len(read[-1])
                    if size > self._door.max_body:
                        raise self._too_long()
                    if not message.get("more_body", False):
                        return b"".join(read)
        except TimeoutError as error:
            raise Refused(
                HTTPStatus.REQUEST_TIMEOUT,
                "DEADLINE_EXCEEDED",
                f"the body took more than {limits.seconds_a_body} s{self._door.named('SECONDS_A_BODY')}",
            ) from error

    def _too_long(self) -> Refused:
        return Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "INVALID_PARAMETER_VALUE",
            f"the body is longer than {self._door.max_body} bytes, {self._door.too_long}",
        )


def check(body: bytes, kind: str, limits: ServingLimits) -> None:
    """Refuse what would make too many objects, and what is no JSON: MLflow's answer to that repeats the whole body.

    Args:
        kind: JSON or CSV.
    """
    most = VALUES_A_ROW * limits.max_rows
    values = sum(body.count(byte) for byte in OPENERS[kind])
    if values > most:
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            "INVALID_PARAMETER_VALUE",
            f"the body has about {values} values, more than {most}, which is {VALUES_A_ROW} for each row of max_rows "
            f"{limits.max_rows} (DP2O_SERVE_MAX_ROWS): send the rows in several requests",
        )
    if kind == JSON:
        try:
            json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Refused(
                HTTPStatus.BAD_REQUEST, "BAD_REQUEST", f"the body is no JSON ({str(error)[:200]}): send a JSON object"
            ) from None


async def _answer(send: Send, refused: Refused, incoming: _Incoming) -> None:
    """As MLflow answers.

    What is still to come of the body is read for a while and dropped: a server that closes the connection at once takes
    the answer away from whoever still sends.
    """
    content = json.dumps({"error_code": refused.code, "message": str(refused)}).encode()
    headers = [(b"content-type", JSON.encode()), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": refused.status.value, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": True})
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while not incoming.ended:
                await incoming()
    await send({"type": "http.response.body"})
