"""The webhook, on a real HTTP server: one that listens, one that fails, and ones that hang."""

import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from components.promote import notify
from tests.promote.listener import Listener, listening

FIELDS = {"version": "sr/2", "by": "ada"}


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    monkeypatch.delenv(notify.VARIABLE, raising=False)
    with listening() as made:
        yield made


def test_text_and_fields_arrive_as_slack_takes_them(listener: Listener) -> None:
    assert notify.send(listener.url, "sr/2 is the champion", "good", FIELDS)
    (body,) = listener.heard
    assert body["text"] == "sr/2 is the champion"
    (attachment,) = body["attachments"]
    assert attachment["color"] == "good"
    assert attachment["fields"] == [
        {"title": "version", "value": "sr/2", "short": True},
        {"title": "by", "value": "ada", "short": True},
    ]


def test_the_environment_goes_before_the_settings(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(notify.VARIABLE, listener.url)
    assert notify.send("http://127.0.0.1:1/nobody", "told", "good", {})
    assert len(listener.heard) == 1


def test_a_job_s_own_variable_goes_before_what_its_flow_gives(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(notify.OF_THE_FLOW, listener.url)
    assert notify.send("", "of the flow", "good", {})
    monkeypatch.setenv(notify.OF_THE_FLOW, "http://127.0.0.1:1/nobody")
    monkeypatch.setenv(notify.VARIABLE, listener.url)
    assert notify.send("", "of its Secret", "good", {})
    assert [body["text"] for body in listener.heard] == ["of the flow", "of its Secret"]


def test_without_a_url_nothing_is_sent_and_nothing_said(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    assert not notify.send("", "told", "good", {})
    assert caplog.text == ""


def test_a_failing_server_is_logged_without_the_secret(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    listener.answer = lambda handler: listener.say(handler, 500)
    assert not notify.send(listener.url, "told", "danger", FIELDS)
    assert "the webhook at 127.0.0.1 failed: it answered 500" in caplog.text
    assert "a-secret" not in caplog.text


def test_what_does_not_speak_http_is_no_error(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    listener.answer = lambda handler: handler.wfile.write(b"nonsense\r\n")
    assert not notify.send(listener.url, "told", "danger", FIELDS)
    assert "BadStatusLine" in caplog.text


def silent(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(3.0)


def dripping(handler: BaseHTTPRequestHandler) -> None:
    """Each byte comes before a socket's timeout; the whole never does."""
    try:
        for letter in "HTTP/1.0 200 OK" + " " * 100:
            handler.wfile.write(letter.encode())
            time.sleep(0.1)
    except OSError:  # the other side has gone
        pass


@pytest.mark.parametrize("answer", [silent, dripping])
def test_a_server_that_hangs_holds_nobody_up(
    listener: Listener, caplog: pytest.LogCaptureFixture, answer: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    listener.answer = answer
    began = time.monotonic()
    assert not notify.send(listener.url, "told", "danger", FIELDS, timeout=0.5)
    assert time.monotonic() - began < 2.5
    assert "nobody was told" in caplog.text
    assert "a-secret" not in caplog.text


@pytest.mark.parametrize("url", ["file:///etc/passwd", "slack", "http://", "http://[bad/"])
def test_what_is_no_url_of_a_webhook_is_said_so(url: str, caplog: pytest.LogCaptureFixture) -> None:
    assert not notify.send(url, "told", "good", {})
    assert "is no http(s) URL" in caplog.text


def test_nobody_there_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    assert not notify.send("http://127.0.0.1:1/", "told", "good", {})
    assert "the webhook at 127.0.0.1 failed" in caplog.text


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_no_delivery_and_is_not_followed(
    listener: Listener, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    with listening() as other:

        def elsewhere(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Location", other.url)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        listener.answer = elsewhere
        assert not notify.send(listener.url, "told", "danger", FIELDS)
        assert not other.heard
    assert f"it answered {status}, a redirect, which is not followed" in caplog.text


def test_a_defect_on_the_way_is_no_delivery(
    listener: Listener, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr("urllib.request.OpenerDirector.open", broken)
    assert not notify.send(listener.url, "told", "danger", FIELDS)
    assert "KeyError" in caplog.text


def test_a_message_is_signed_as_mlflow_signs_its_own(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.webhooks.delivery import _generate_hmac_signature  # noqa: PLC0415

    monkeypatch.setenv(notify.SECRET, "a-long-secret")
    assert notify.send(listener.url, "told", "good", FIELDS)
    ((headers, body),) = listener.raw
    headers = {name.lower(): value for name, value in headers.items()}
    moment = headers["x-mlflow-timestamp"]
    expected = _generate_hmac_signature("a-long-secret", headers["x-mlflow-delivery-id"], moment, body.decode())
    assert headers["x-mlflow-signature"] == expected
    assert abs(int(moment) - time.time()) < 60


def test_without_a_secret_nothing_is_signed(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(notify.SECRET, raising=False)
    assert notify.send(listener.url, "told", "good", FIELDS)
    ((headers, _),) = listener.raw
    assert not [name for name in headers if "mlflow" in name.lower()]
