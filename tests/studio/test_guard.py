"""Other sites' pages reach this machine's server as well: they get nothing from it."""

import asyncio
from typing import Any

import pytest

from components.studio.guard import Guard, is_local


async def inner(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"secret"})


def answer(headers: dict[str, str], method: str = "POST", path: str = "/api/jobs", host: str = "127.0.0.1") -> Any:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(key.encode(), value.encode()) for key, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw}
    asyncio.run(Guard(inner, host)(scope, None, send))  # type: ignore[arg-type]
    return sent[0]


@pytest.mark.parametrize("name", ["127.0.0.1:8040", "localhost:8040", "[::1]:8040", "LOCALHOST"])
def test_the_page_itself_is_answered(name: str) -> None:
    own = {"host": name, "origin": f"http://{name}", "sec-fetch-site": "same-origin"}
    assert answer(own)["status"] == 200
    assert answer({"host": name})["status"] == 200  # curl


@pytest.mark.parametrize(
    "name", ["evil.example", "evil.example:8040", "localhost.evil.example", "", "192.168.0.7:8040"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_name_that_was_made_to_lead_here_is_refused(name: str, method: str) -> None:
    assert answer({"host": name, "origin": f"http://{name}"}, method)["status"] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "https://127.0.0.1:8040"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_sites_page_is_refused(headers: dict[str, str]) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert answer({"host": "127.0.0.1:8040", **headers}, method)["status"] == 403


def test_a_link_may_lead_to_the_page_and_to_nothing_else() -> None:
    link = {"host": "127.0.0.1:8040", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert answer(link, "GET", "/")["status"] == 200
    assert answer(link, "GET", "/api/jobs/x/view/0")["status"] == 403
    assert answer(link | {"sec-fetch-mode": "no-cors"}, "GET", "/")["status"] == 403


def test_answers_may_load_nothing_from_elsewhere_and_stand_in_no_frame() -> None:
    headers = dict(answer({"host": "localhost"})["headers"])
    assert b"default-src 'none'" in headers[b"content-security-policy"]
    assert b"frame-ancestors 'none'" in headers[b"content-security-policy"]
    assert headers[b"cross-origin-resource-policy"] == b"same-origin"


def test_on_another_address_its_own_name_and_addresses_count() -> None:
    assert answer({"host": "192.168.0.7:8040"}, host="0.0.0.0")["status"] == 200
    assert answer({"host": "photos.lan:8040"}, host="photos.lan")["status"] == 200
    assert answer({"host": "evil.example"}, host="0.0.0.0")["status"] == 403


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.8.8.8", True), ("0.0.0.0", False), ("::", False),
     ("192.168.0.7", False), ("photos.lan", False)],
)  # fmt: skip
def test_what_is_local(host: str, local: bool) -> None:
    assert is_local(host) is local
