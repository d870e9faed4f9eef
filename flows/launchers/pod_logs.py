"""A container's log over connections that break: each line once, best effort."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator

import urllib3
from kubernetes.client.exceptions import ApiException

from flows.launchers.api import Api, Json, Lines, reason_of

LOGGER = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
POD_SETTLES = 3.0
"""Seconds a pod may be told later than its Job's end: they come by two watches."""
SILENCE = 3600.0
"""Seconds a log may be silent before its connection is made anew: training can think for long between two lines."""

_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?Z ?(.*)", re.DOTALL)


class PodLog:
    """One container's log, read from where it was left.

    Args:
        path: `…/pods/<name>/log`.
        since: RFC 3339 time; earlier lines are not wanted.
    """

    def __init__(self, api: Api, path: str, container: str, since: str | None = None) -> None:
        self._api, self._path, self._container = api, path, container
        self._last = f"{since.rstrip('Z').split('.')[0]}.000000000" if since else ""
        self._lines: Lines | None = None
        self._is_cut = False

    def read(self, follow: bool) -> Iterator[str]:
        """Lines that were not given yet, to the present end, or with `follow` to the container's.

        Raises:
            ApiException: there is no log (yet, or any more).
            urllib3.exceptions.HTTPError: the connection broke; read again.
        """
        known = self._last
        query: Json = {"container": self._container, "timestamps": "true", "follow": "true" if follow else "false"}
        if known:
            query["sinceTime"] = f"{known.split('.')[0]}Z"  # whole seconds: some lines come again, and are skipped
        with self._api.stream(self._path, query, SILENCE) as lines:
            self._lines = lines
            if self._is_cut:
                return
            for line in lines:
                stamped = _STAMP.fullmatch(line)
                if stamped is None:
                    continue  # the kubelet's own remark
                stamp = f"{stamped[1]}.{(stamped[2] or '').ljust(9, '0')}"
                if stamp > known:
                    self._last = max(self._last, stamp)
                    yield stamped[3]

    def cut(self) -> None:
        """End a `read` that another thread is in."""
        self._is_cut = True
        if self._lines is not None:
            self._lines.cut()


class Follower:
    """A thread that follows the logs of a Job's pods, one after another.

    Args:
        pods: gives the Job's started pods, oldest first, as (uid, log).
        emit: takes a line.
    """

    def __init__(self, pods: Callable[[], list[tuple[str, PodLog]]], emit: Callable[[str], None]) -> None:
        self._pods, self._emit = pods, emit
        self._logs: dict[str, PodLog] = {}
        self._finishing = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def finish(self, seconds: float) -> None:
        """The Job has ended: take what is left of the logs, for at most so long."""
        self._finishing.set()
        self._thread.join(seconds)
        self.stop()

    def stop(self) -> None:
        """End at once."""
        self._stopping.set()
        self._finishing.set()
        for log in list(self._logs.values()):
            log.cut()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        late = time.monotonic() + 2 * POD_SETTLES
        while not self._stopping.is_set():
            last_round = self._finishing.is_set()
            pods = self._pods()
            for uid, fresh in pods:
                log = self._logs.setdefault(uid, fresh)
                whole = self._read(log, follow=not last_round)
                pause = FIRST_PAUSE if whole else min(2 * pause, LONGEST_PAUSE)
            if not last_round:
                late = time.monotonic() + POD_SETTLES
                self._finishing.wait(pause)
            elif pods or time.monotonic() > late:
                return
            else:
                self._stopping.wait(POD_SETTLES / 20)  # the Job's end may be told before its pod's start

    def _read(self, log: PodLog, follow: bool) -> bool:
        """Whether it was read to its end."""
        try:
            for line in log.read(follow):
                self._emit(line)
        except ApiException as error:
            if error.status in (400, 404):
                return True  # not started yet, or gone: asked again with the next round
            LOGGER.info("log: %s", reason_of(error))
            return False
        except (urllib3.exceptions.HTTPError, OSError) as error:
            LOGGER.info("log: %s", reason_of(error))
            return False
        return True
