"""The logs of a Job's pods, told to those who wait for it, or read as they are."""

import logging
import time
from collections.abc import Callable, Iterator

import urllib3
from kubernetes.client.exceptions import ApiException

from flows.launchers import classify, job_template
from flows.launchers.api import BAD_REQUEST, NOT_FOUND, Api, Json, reason_of
from flows.launchers.base import Outcome
from flows.launchers.entry import Entry
from flows.launchers.namespace import Namespace
from flows.launchers.pod_logs import Follower, PodLog

LOGGER = logging.getLogger(__name__)

LAST_LINES = 10.0
"""Seconds the rest of a log may take after the Job's end."""
TRIES, PAUSE = 5, 0.25
"""Times that a log is asked for, and seconds between."""


class JobLogs:
    """Follows and reads logs.

    Args:
        pods: of an entry, oldest first, also those that are gone.
    """

    def __init__(self, api: Api, place: Namespace, pods: Callable[[Entry], list[Json]]) -> None:
        self._api, self._namespace, self._pods = api, place, pods

    def follow(self, entry: Entry) -> None:
        """Collect the lines of its first pod as they come, in the entry."""

        def emit(line: str) -> None:
            first = not entry.lines
            entry.lines.append(line)
            if first:
                with entry.changed:
                    entry.tell()

        entry.follower = Follower(lambda: self._started(entry), emit)
        entry.follower.start()

    def finish(self, entry: Entry, outcome: Outcome) -> None:
        """Collect the rest, for a while."""
        with entry.changed:
            if entry.follower is None and outcome.exit_code is not None:  # it was shorter than a look
                self.follow(entry)
        if entry.follower is not None:
            entry.follower.finish(LAST_LINES)

    def lines(self, entry: Entry) -> Iterator[str]:
        """Those so far of all its pods."""
        for pod in self._pods(entry):
            log = self._log(pod, None)
            for _ in range(TRIES):
                try:
                    yield from log.read(follow=False)
                    break
                except ApiException as error:
                    if error.status in (BAD_REQUEST, NOT_FOUND):
                        break  # it has not started, or is gone
                    LOGGER.info("log of %s: %s", pod["metadata"]["name"], reason_of(error))
                except (urllib3.exceptions.HTTPError, OSError) as error:
                    LOGGER.info("log of %s: %s", pod["metadata"]["name"], reason_of(error))
                time.sleep(PAUSE)

    def _started(self, entry: Entry) -> list[tuple[str, PodLog]]:
        told = (pod for pod in self._pods(entry) if classify.has_started(pod) and classify.index_of(pod) == "0")
        return [(pod["metadata"]["uid"], self._log(pod, entry.since)) for pod in told]

    def _log(self, pod: Json, since: str | None) -> PodLog:
        path = f"{self._namespace.pods()}/{pod['metadata']['name']}/log"
        return PodLog(self._api, path, job_template.CONTAINER, since)
