"""Tell people by a webhook, in the form that Slack, Mattermost and their like take. Never in the way of the work.

With a secret in DP2O_WEBHOOK_SECRET each message is signed as MLflow signs its own webhooks, so that whoever gets both
has one check: `X-MLflow-Signature: v1,<base64 of HMAC-SHA256 over delivery id, timestamp and body, joined by dots>`.
"""

import base64
import hmac
import json
import logging
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Mapping
from typing import Any, Literal

logger = logging.getLogger("dp2o.promote")

VARIABLE, SECRET = "DP2O_WEBHOOK_URL", "DP2O_WEBHOOK_SECRET"
OF_THE_FLOW = "DP2O_WEBHOOK_OF_THE_FLOW"
"""What a flow gives the gate's Job, whose settings have no secrets. Under another name, since a Job's own variables go
before those of its Secrets."""
TIMEOUT = 10.0
"""Seconds after which the work goes on, whatever the other side does."""
Mood = Literal["good", "warning", "danger"]
"""Slack's colours: green, yellow, red."""


def send(webhook: str, text: str, mood: Mood, fields: Mapping[str, str], timeout: float = TIMEOUT) -> bool:
    """POST `text` and `fields`; whether it arrived, which an answer of 2xx alone says.

    What goes wrong is logged, not raised, and not tried again. A redirect is not followed: it would make of the message
    a question to somebody else.

    Args:
        webhook: the settings' URL; the environment variable DP2O_WEBHOOK_URL goes first, since such URLs are secrets.
            With neither, the flow's is taken; without one, nothing is sent.
        text: one line: what happened, and what to do.
        fields: what a person looks for first: model, version, champion, who.
    """
    url = os.environ.get(VARIABLE) or webhook or os.environ.get(OF_THE_FLOW)
    if not url:
        return False
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        parts = urllib.parse.urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        logger.warning("nobody was told: %s or register.webhook is no http(s) URL; set it to the webhook's", VARIABLE)
        return False
    body = {
        "text": text,
        "attachments": [
            {
                "color": mood,
                "fallback": text,
                "fields": [{"title": title, "value": value, "short": True} for title, value in fields.items()],
            }
        ],
    }
    payload = json.dumps(body).encode()
    request = urllib.request.Request(url, payload, {"Content-Type": "application/json", **_signed(payload)})
    told: list[str] = []  # empty when it arrived
    # A socket's timeout is of each read: who sends a byte a second holds it for ever. A thread can be left behind.
    thread = threading.Thread(target=lambda: told.append(_post(request, timeout)), daemon=True)
    thread.start()
    thread.join(timeout)
    problem = told[0] if told else f"no answer within {timeout:g} s"
    if problem:
        logger.warning("nobody was told: the webhook at %s failed: %s", parts.hostname, problem)
    return not problem


def _signed(payload: bytes) -> dict[str, str]:
    """Headers by which the other side knows who wrote, and that it is no repetition; none without a secret."""
    secret = os.environ.get(SECRET, "")
    if not secret:
        return {}
    delivery, moment = str(uuid.uuid4()), str(int(time.time()))
    seal = hmac.digest(secret.encode(), b".".join([delivery.encode(), moment.encode(), payload]), "sha256")
    return {
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": moment,
        "X-MLflow-Signature": f"v1,{base64.b64encode(seal).decode()}",
    }


class _NotFollowed(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Nowhere: the answer is an error then."""


def _post(request: urllib.request.Request, timeout: float) -> str:
    """What went wrong; empty where the other side said that it has the message."""
    try:
        with urllib.request.build_opener(_NotFollowed).open(request, timeout=timeout) as answer:
            return "" if 200 <= answer.status < 300 else f"it answered {answer.status}"
    except urllib.error.HTTPError as error:
        elsewhere = ", a redirect, which is not followed: set the address that it leads to"
        return f"it answered {error.code}{elsewhere if 300 <= error.code < 400 else ''}"
    except Exception as error:  # noqa: BLE001  # whatever it is, nobody was told, and the work goes on
        return f"{type(error).__name__} {error}"
