"""Nothing that is told has a secret in it: one function for logs, errors, pages, and what is copied elsewhere.

What is a secret is known in three ways: variables of the environment whose names say so, settings of a secret type
(`remember`), and the form of a URL with a password. Nothing else of this project is imported here.
"""

import base64
import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType
from typing import Any
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"
SHORTEST = 6
"""Characters of a secret that is looked for everywhere: shorter ones are parts of other words."""

_NAMES = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|AUTH_STRING|WEBHOOK|SIGNING|PRIVATE|APIKEY|API_KEY|_KEY$"
    r"|^GIT_CONFIG_VALUE_|CONNECTION_STRING|SAS$",
    re.IGNORECASE,
)
"""Variables that hold a secret. `…_KEY_ID`, the public half of a pair, is none."""
_NOT_SECRET = re.compile(r"(_FILE|_PATH|_NAME|_DIR|_TYPE|PARALLELISM)$|^GIT_CONFIG_KEY_|^SSH_", re.IGNORECASE)
_WITH_USER = re.compile(  # with a longest scheme: a long word would be looked through from each of its letters
    r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]{0,30})://(?P<user>[^\s/@:'\"<>]*)(?P<password>:[^\s/'\"<>]*)?@"
)
_QUERY = re.compile(
    r"(?P<name>[?&](?:[\w.-]*(?:password|passwd|token|secret|signature|credential|api_?key)|sig|key|pwd)=)[^&\s'\"<>#]+",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"(?P<name>\bauthorization\b['\"]?\s*[:=]\s*['\"]?(?:basic|bearer|token)\s+)[^\s'\"]+", re.IGNORECASE
)

_OF_PEM = re.compile(r"\s*-----")
"""First and last line of a key's text, which are no secret."""
_OF_OSERROR = ("strerror", "filename", "filename2")
"""What an OSError shows instead of its arguments."""

_remembered: set[str] = set()


def remember(secret: str) -> None:
    """Let `secret` be hidden from now on, wherever it turns up in this process."""
    if len(secret) >= SHORTEST:
        _remembered.add(secret)
        _pattern.cache_clear()


def redacted(text: str) -> str:
    """`text` without the secrets that are known here; in their place stands `***`.

    The user of a URL stays where a password follows, unless it is the secret itself, as a token over http is.
    """
    found = _pattern(_environment())
    if found is not None:
        text = found.sub(HIDDEN, text)
    if "@" in text:
        text = _WITH_USER.sub(_without_password, text)
    if "=" in text:
        text = _QUERY.sub(rf"\g<name>{HIDDEN}", text)
    return _HEADER.sub(rf"\g<name>{HIDDEN}", text)


def redact_values(value: Any) -> Any:
    """The same for every text in lists and mappings."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {key: redact_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(redact_values, value))
    return value


def has_password(url: str) -> bool:
    """Whether a URL has a secret in it."""
    return _WITH_USER.sub(_without_password, url) != url or bool(_QUERY.search(url))


def _without_password(match: re.Match[str]) -> str:
    scheme, user, password = match["scheme"], match["user"], match["password"]
    if password:
        return f"{scheme}://{user}:{HIDDEN}@"
    is_token = scheme.lower() in ("http", "https") and user not in ("", HIDDEN, "git")
    return f"{scheme}://{HIDDEN}@" if is_token else match[0]


def _environment() -> tuple[str, ...]:
    """Values of all variables that hold a secret."""
    found = []
    for name, value in os.environ.items():
        if _NAMES.search(name) and not _NOT_SECRET.search(name):
            found.append(value)
            if " " in value:  # a header: `Authorization: Basic …`
                found.append(value.split()[-1])
        for match in _WITH_USER.finditer(value) if "@" in value else ():
            found.append((match["password"] or "")[1:])
    return tuple(found)


@lru_cache(maxsize=4)
def _pattern(environment: tuple[str, ...]) -> re.Pattern[str] | None:
    """All that is hidden, also as it stands in a URL, a header, JSON and Python's own words; the longest first."""
    known = {secret for secret in (*environment, *_remembered) if len(secret) >= SHORTEST}
    known |= {line.strip() for secret in known for line in secret.splitlines() if not _OF_PEM.match(line)}
    known |= {unquote(secret) for secret in known}
    forms = {form for secret in known for form in _forms(secret)}
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        forms.add(base64.b64encode(f"{user}:{password}".encode()).decode())
    ordered = sorted((form for form in forms if len(form) >= SHORTEST), key=lambda form: (-len(form), form))
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _forms(secret: str) -> tuple[str, ...]:
    in_url = (quote(secret, safe=""), quote(secret), quote_plus(secret))
    return (secret, *in_url, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1])


# ---- errors


def scrub(error: BaseException) -> None:
    """Take the secrets out of an error, and out of those that led to it: whoever shows it, shows none."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        try:
            one.args = tuple(redacted(value) if isinstance(value, str) else value for value in one.args)
            for name in (*vars(one), *(_OF_OSERROR if isinstance(one, OSError) else ())):
                value = getattr(one, name, None)
                if isinstance(value, str) and redacted(value) != value:
                    setattr(one, name, redacted(value))
        except (AttributeError, TypeError):  # an error that cannot be changed: its text is hidden where it is logged
            pass
        waiting += [one.__cause__, one.__context__]


@contextmanager
def scrubbed() -> Iterator[None]:
    """Errors that leave this block have no secret in them."""
    try:
        yield
    except Exception as error:
        scrub(error)
        raise


# ---- logs


def install() -> None:
    """Let every log record and every traceback of this process be redacted, whoever's handler or hook shows it."""
    if getattr(logging.getLogRecordFactory(), "_redacts", False):
        return
    before = logging.getLogRecordFactory()

    def record(*arguments: Any, **named: Any) -> logging.LogRecord:
        made = before(*arguments, **named)
        try:
            text = made.getMessage()
        except Exception:  # noqa: BLE001  # a message that does not fit its arguments: logging itself says so
            return made
        hidden = redacted(text)
        if hidden != text:
            made.msg, made.args = hidden, ()
        if made.exc_info and made.exc_info[1] is not None:
            shown = "".join(traceback.format_exception(*made.exc_info)).rstrip("\n")
            if redacted(shown) != shown:
                scrub(made.exc_info[1])
                made.exc_text = redacted(shown)
        return made

    record._redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(record)
    sys.excepthook = _print_uncaught
    threading.excepthook = lambda args: _print_uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def _print_uncaught(kind: type[BaseException], error: BaseException, place: TracebackType | None) -> None:
    if issubclass(kind, SystemExit | KeyboardInterrupt):
        sys.__excepthook__(kind, error, place)
        return
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, place))))
