"""A copy of the objects of one kind that have certain labels, kept up to date by one watch for all who wait."""

import json
import logging
import random
import threading
import time
from collections.abc import Callable

import urllib3
from kubernetes.client.exceptions import ApiException

from components.errors import BadInput
from flows.launchers.api import FORBIDDEN, GONE, Api, Json, Lines, reason_of, retry_after
from flows.launchers.settings import ApiSettings

LOGGER = logging.getLogger(__name__)

PAGE = 500
REFUSED_FOR = 30.0
"""Seconds of 403 answers that mean missing rights, and not a server that has just started."""
SLACK = 30.0
"""Seconds after its timeout at which a watch that the server has not ended counts as dead."""


class Mirror:
    """Lists, then watches from the list's version; resumes a watch that ended or broke, lists anew where it must.

    `get` and `last_seen` are read under `lock`; `changed` is called under it, with the object that changed.

    Args:
        api: for requests.
        path: of the collection.
        selector: of labels.
        slim: makes the part of an object that is worth its memory.
        changed: told of each object that came, changed or went; of None when waiting for the server is given up.
        lock: guards all that is read here.
        timing: how long, how often.
    """

    def __init__(
        self,
        api: Api,
        path: str,
        selector: str,
        slim: Callable[[Json], Json],
        changed: Callable[[Json | None], None],
        lock: threading.RLock,
        timing: ApiSettings,
    ) -> None:
        self._api, self._path, self._selector, self._slim = api, path, selector, slim
        self._changed, self._lock, self._timing = changed, lock, timing
        self._objects: dict[str, Json] = {}
        self._gone: dict[str, Json] = {}
        self._stopping = threading.Event()
        self._lines: Lines | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch {path.rsplit('/', 1)[1]}", daemon=True)
        self._version: str | None = None
        self._away_since: float | None = None
        self.error: Exception | None = None
        """Why nobody should wait any longer: the server is away for too long, or refuses."""

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and its connection."""
        self._stopping.set()
        with self._lock:
            lines = self._lines
        if lines is not None:
            lines.cut()
        if self._thread.is_alive():
            self._thread.join(5)

    def get(self, name: str) -> Json | None:
        """The object as last seen, None if it is not there (or not there yet)."""
        return self._objects.get(name)

    def last_seen(self, name: str) -> Json | None:
        """As it was when it went; None if it is there, or was never seen, or was forgotten."""
        return self._gone.get(name)

    def forget(self, name: str) -> None:
        """Its last state is not asked for again."""
        with self._lock:
            self._gone.pop(name, None)

    def add(self, item: Json) -> None:
        """An object that was read otherwise, before the watch has told of it."""
        with self._lock:
            name = item["metadata"]["name"]
            known = self._objects.get(name)
            if known is None or known["metadata"]["uid"] != item["metadata"]["uid"]:
                self._objects[name] = self._slim(item)
                self._gone.pop(name, None)

    def _run(self) -> None:
        listed_at = 0.0
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            error: Exception | None = None
            try:
                if self._version is None or began - listed_at > self._timing.relist:
                    self._list()
                    listed_at = began
                self._watch()
            except (ApiException, urllib3.exceptions.HTTPError, OSError, ValueError) as problem:
                error = problem
            if self._stopping.is_set():
                return
            lasted = time.monotonic() - began
            if error is None and lasted > 1:
                failures = 0
                continue  # the server ends a watch now and then
            if lasted > self._timing.longest_pause:
                failures = 0  # it had worked for a while
            failures += 1
            if error is not None:
                LOGGER.info("watch of %s: %s", self._path, reason_of(error))
                self._failed(error)
            pause = min(self._timing.longest_pause, self._timing.first_pause * 2 ** (failures - 1))
            self._stopping.wait(max(pause * random.uniform(0.5, 1.0), retry_after(error)))

    def _answered(self) -> None:
        with self._lock:
            self._away_since = None
            self.error = None

    def _failed(self, error: Exception) -> None:
        """Count how long the server does not answer, and give up when that is long enough."""
        if isinstance(error, ApiException) and error.status == GONE:
            self._version = None
            return
        now = time.monotonic()
        with self._lock:
            self._away_since = self._away_since or now
            away = now - self._away_since
            if isinstance(error, ApiException) and error.status == FORBIDDEN and away > REFUSED_FOR:
                self.error = BadInput(
                    f"the launcher may not watch {self._path}: {reason_of(error)}; give its service account the rights "
                    "that the namespace's Role for flows lists"
                )
            elif away > self._timing.patience:
                self.error = self._api.unavailable(error)
            if self.error is not None:
                self._changed(None)

    def _list(self) -> None:
        """Take over all that is there, and the version to watch from."""
        query: Json = {"labelSelector": self._selector, "limit": PAGE}
        found: dict[str, Json] = {}
        while True:
            page = self._api.once("GET", self._path, query)
            for item in page.get("items") or ():
                found[item["metadata"]["name"]] = self._slim(item)
            more = page["metadata"].get("continue")
            if not more:
                break
            query["continue"] = more
        self._answered()
        with self._lock:
            for name in self._objects.keys() - found.keys():
                self._deleted(self._objects[name])
            for name, item in found.items():
                known = self._objects.get(name)
                if known is None or _version(known) != _version(item):
                    self._put(item)
            self._version = _version(page)

    def _watch(self) -> None:
        """Follow changes until the server ends the watch, or the connection breaks."""
        query = {
            "labelSelector": self._selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": self._timing.watch_timeout,
        }
        try:
            with self._api.stream(self._path, query, self._timing.watch_timeout + SLACK) as lines:
                self._answered()
                with self._lock:
                    self._lines = lines
                if self._stopping.is_set():
                    return
                for line in lines:
                    event = json.loads(line)
                    item = event["object"]
                    if event["type"] == "ERROR":
                        raise ApiException(status=item.get("code"), reason=item.get("message"))
                    with self._lock:
                        if event["type"] != "BOOKMARK":
                            (self._deleted if event["type"] == "DELETED" else self._put)(self._slim(item))
                        self._version = _version(item)
        finally:
            with self._lock:
                self._lines = None

    def _put(self, item: Json) -> None:
        name = item["metadata"]["name"]
        self._objects[name] = item
        self._gone.pop(name, None)
        self._changed(item)

    def _deleted(self, item: Json) -> None:
        name = item["metadata"]["name"]
        known = self._objects.get(name)
        if known is not None and known["metadata"]["uid"] != item["metadata"]["uid"]:
            return  # another of the same name is there already
        self._objects.pop(name, None)
        self._gone[name] = item
        self._changed(item)


def _version(item: Json) -> str:
    return str(item["metadata"]["resourceVersion"])
