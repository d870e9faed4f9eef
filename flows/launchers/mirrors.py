"""The mirrors of a launcher's runs: two watches a run, of its Jobs and its pods, for all who wait."""

import threading
from collections.abc import Callable

from flows.launchers import classify, job_template
from flows.launchers.api import Api, Json
from flows.launchers.entry import Entry, RunMirrors
from flows.launchers.namespace import Namespace
from flows.launchers.settings import ApiSettings
from flows.launchers.watch import Mirror


class Mirrors:
    """All is read and called under `lock`.

    Args:
        news: told of the Job about which, or about whose pods, something is new; of None for all.
    """

    def __init__(
        self,
        api: Api,
        place: Namespace,
        timing: ApiSettings,
        lock: threading.RLock,
        news: Callable[[str | None], None],
    ) -> None:
        self._api, self._namespace, self._timing, self._lock, self._news = api, place, timing, lock, news
        self._of_runs: dict[str, RunMirrors] = {}
        self._pods_of: dict[str, dict[str, None]] = {}  # names by Job, in the order of their coming
        self._stopped = False

    def of(self, run: str) -> RunMirrors:
        """The run's mirrors, made when first needed; after `stop` they stay empty."""
        if run not in self._of_runs:
            selector, rest = job_template.selector(run), (self._lock, self._timing)
            jobs = Mirror(self._api, self._namespace.jobs(), selector, classify.slim_job, self._job_changed, *rest)
            pods = Mirror(self._api, self._namespace.pods(), selector, classify.slim_pod, self._pod_changed, *rest)
            if not self._stopped:
                jobs.start()
                pods.start()
            self._of_runs[run] = RunMirrors(jobs, pods)
        return self._of_runs[run]

    def _job_changed(self, job: Json | None) -> None:
        self._news(None if job is None else job["metadata"]["name"])

    def _pod_changed(self, pod: Json | None) -> None:
        job = None if pod is None else classify.job_of(pod)
        if pod is not None and job is not None:  # kept for one that is adopted later: a list tells it before
            self._pods_of.setdefault(job, {})[pod["metadata"]["name"]] = None
        if pod is None or job is not None:
            self._news(job)

    def own_pods(self, entry: Entry, job: Json, gone: bool) -> list[Json]:
        """The Job's pods, oldest first; with `gone` also those that are gone, as they were last."""
        mirror = entry.mirrors.pods
        seen = (
            mirror.get(name) or (mirror.last_seen(name) if gone else None) for name in self._pods_of.get(entry.name, ())
        )
        own = [pod for pod in seen if pod is not None and classify.belongs(pod, job)]
        return sorted(own, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))

    def stop(self) -> None:
        """End all watches."""
        with self._lock:
            self._stopped = True
            mirrors = list(self._of_runs.values())
        for one in mirrors:
            one.jobs.stop()
            one.pods.stop()
