"""A store that machines share: a document of everybody who works with it, and one of who removes.

    dp2o/leases/use/<run>.json      a run, for as long as it lives
    dp2o/leases/gc.json             who removes

Each writes its own first and then looks for the other's: of two that begin at once, one at least sees the other.
Documents are renewed. One that is not renewed has expired after a quarter of an hour: its process is dead. Clocks of
two machines may differ by less than that.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from components.errors import ResumeLater, UserError
from components.storage.store import Store

logger = logging.getLogger("dp2o.in_use")

USE, REMOVES = "leases/use", "leases/gc.json"
RENEWED_EVERY, SECONDS = 60.0, 900.0
PAUSE = 5.0

Clock = Callable[[], float]


@contextmanager
def using(store: Store, who: str, clock: Clock = time.time, pause: float = PAUSE) -> Iterator[None]:
    """Work with the store; waits where somebody removes things just now.

    Args:
        who: for people, for example a flow run.

    Raises:
        BadInput, ResumeLater: the store refuses, or is away.
    """
    with _lease(store, f"{USE}/{uuid.uuid4().hex}.json", who, clock):
        told = False
        while (other := _alive(store, REMOVES, clock)) is not None:
            if not told:
                logger.warning("waits for %s, which is removing things in %s", other["who"], store.url)
            told = True
            time.sleep(pause)
        yield


@contextmanager
def removing(store: Store, who: str, clock: Clock = time.time) -> Iterator[None]:
    """Remove from the store; who begins to work with it meanwhile, waits.

    Raises:
        ResumeLater: somebody works with it, or removes as well.
    """
    if (other := _alive(store, REMOVES, clock)) is not None:
        raise ResumeLater(f"{other['who']} removes things in {store.url} already; run the same command after it")
    with _lease(store, REMOVES, who, clock) as token:
        if (others := users(store, clock)) or (store.read(REMOVES) or {}).get("token") != token:
            raise ResumeLater(
                f"{', '.join(others) or 'another `dp2o gc`'} works with {store.url}: nothing is removed; run the same "
                "command after it"
            )
        yield


def users(store: Store, clock: Clock = time.time) -> list[str]:
    """Who works with the store now."""
    found = (_alive(store, f"{USE}/{name}", clock) for name in store.names(USE))
    return sorted(str(one["who"]) for one in found if one is not None)


@contextmanager
def _lease(store: Store, key: str, who: str, clock: Clock) -> Iterator[str]:
    token, ended = uuid.uuid4().hex, threading.Event()

    def write() -> None:
        store.write(key, {"who": who, "token": token, "expires": clock() + SECONDS})

    def renew() -> None:
        while not ended.wait(RENEWED_EVERY):
            try:
                write()
            except (UserError, OSError) as error:
                logger.warning("%s/%s could not be renewed: %s", store.url, key, error)

    write()
    thread = threading.Thread(target=renew, name="in use", daemon=True)
    thread.start()
    try:
        yield token
    finally:
        ended.set()
        thread.join()
        with suppress(UserError, OSError):  # it expires by itself
            if (store.read(key) or {}).get("token") == token:
                store.remove(key)


def _alive(store: Store, key: str, clock: Clock) -> dict[str, Any] | None:
    """The document, if it has not expired."""
    found = store.read(key)
    try:
        return found if found is not None and float(found["expires"]) > clock() else None
    except (KeyError, TypeError, ValueError):
        return None
