"""Tell people by a webhook, in the form that Slack, Mattermost and their like take. Never in the way of the work."""

import json
import logging
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Literal

logger = logging.getLogger("dp2o.promote")

VARIABLE = "DP2O_WEBHOOK_URL"
TIMEOUT = 10.0
"""Seconds after which the work goes on, whatever the other side does."""
Mood = Literal["good", "warning", "danger"]
"""Slack's colours: green, yellow, red."""


def send(webhook: str, text: str, mood: Mood, fields: Mapping[str, str], timeout: float = TIMEOUT) -> bool:
    """POST `text` and `fields`; whether it arrived. What goes wrong is logged, not raised, and not tried again.

    Args:
        webhook: the settings' URL; the environment variable DP2O_WEBHOOK_URL goes first, since such URLs are secrets.
            With neither, nothing is sent.
        text: one line: what happened, and what to do.
        fields: what a person looks for first: model, version, champion, who.
    """
    url = os.environ.get(VARIABLE) or webhook
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
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    problems: list[str] = []
    # A socket's timeout is of each read: who sends a byte a second holds it for ever. A thread can be left behind.
    thread = threading.Thread(target=_post, args=(request, timeout, problems), daemon=True)
    thread.start()
    thread.join(timeout)
    problem = f"no answer within {timeout:g} s" if thread.is_alive() else "".join(problems)
    if problem:
        logger.warning("nobody was told: the webhook at %s failed: %s", parts.hostname, problem)
    return not problem


def _post(request: urllib.request.Request, timeout: float, problems: list[str]) -> None:
    try:
        with urllib.request.urlopen(request, timeout=timeout):
            pass
    except urllib.error.HTTPError as error:
        problems.append(f"it answered {error.code}")
    except (OSError, ValueError, HTTPException) as error:
        problems.append(f"{type(error).__name__} {error}")
