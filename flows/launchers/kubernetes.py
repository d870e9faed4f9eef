"""Work as Kubernetes Jobs: one `batch/v1` Job for each piece.

A Job's name follows from the work alone, so that submitting again, by a restarted flow or after a create whose answer
was lost, finds what is there. One watch on Jobs and one on pods serve all who wait. The launcher needs these rights
in its namespace: create, get, list, watch and delete Jobs; get, list and watch pods; get their logs; list events.
"""

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from flows.launchers import classify, job_template
from flows.launchers.api import Api, ApiUnavailableError, Json, reason_of
from flows.launchers.base import Failure, Outcome, State, Work
from flows.launchers.entry import Entry, Observation
from flows.launchers.job_logs import JobLogs
from flows.launchers.mirrors import Mirrors
from flows.launchers.names import name_of
from flows.launchers.namespace import Namespace
from flows.launchers.pod_logs import POD_SETTLES
from flows.launchers.settings import KubernetesSettings
from flows.launchers.waiting import Waiting

LOGGER = logging.getLogger(__name__)

DELETING = 8
"""Deletions at once when the launcher closes."""


class KubernetesLauncher:
    """Runs work as Jobs of one namespace.

    Args:
        settings: the cluster's.
        configuration: of the API client; default: the pod's service account, else KUBECONFIG.

    Raises:
        BadInput: there is no access to a cluster, or the Job template cannot be used.
    """

    def __init__(self, settings: KubernetesSettings, configuration: client.Configuration | None = None) -> None:
        self._settings = settings
        paths = {settings.job_template, *settings.stage_templates.values()}
        self._templates = {path: job_template.read_template(path) for path in paths}
        self._api = Api(settings.api, configuration)
        self._id = uuid.uuid4().hex
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        self._over: set[str] = set()  # runs that were swept
        self._closed = self._left = False
        self._namespace = Namespace(self._api, settings)
        self._mirrors = Mirrors(self._api, self._namespace, settings.api, self._lock, self._news)
        self._waiting = Waiting(settings, self._namespace, self._give_up)
        self._logs = JobLogs(self._api, self._namespace, self._all_pods)

    def __enter__(self) -> "KubernetesLauncher":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def api_calls(self) -> Counter[str]:
        """Requests made so far, by verb and resource."""
        return self._api.calls.copy()

    # ---- submit

    def submit(self, work: Work) -> str:
        """Create the Job, or adopt the one that is there; its name.

        A Job that the cluster does not accept is told by `wait`, as Rejected; one of a run that is over, as Cancelled.

        Raises:
            BadInput: a Job of that name is there and is not this work's.
            ApiUnavailableError: the API server does not answer for too long.
        """
        name = name_of(work)
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None and not entry.deleted:
                return name
            entry = Entry(work, name, self._mirrors.of(work.run), threading.Condition(self._lock))
            self._entries[name] = entry
            if self._closed or work.run in self._over:
                entry.deleted = entry.removed = True
                return name
        try:
            self._create(entry)
        except BaseException as error:
            with self._lock:
                if self._entries.get(name) is entry:
                    del self._entries[name]
            self._decide(entry, Outcome(State.FAILED, Failure.LOST, f"it was not created: {error}"))
            raise
        with self._lock:
            unwanted = entry.deleted and not self._left
        if unwanted:  # since it was asked for: whoever deleted it then may have found nothing yet
            self._namespace.remove(name)
        return name

    def _create(self, entry: Entry) -> None:
        template = self._templates[self._settings.template_of(entry.work.stage)]
        job = job_template.job_for(entry.work, template, self._settings, self._id)
        made = self._namespace.create(entry.work, job, lambda: not entry.deleted)
        if made is not None:
            self._created(entry, *((None, made) if isinstance(made, Outcome) else (made, None)))

    def _created(self, entry: Entry, job: Json | None, verdict: Outcome | None) -> None:
        with self._lock:
            entry.created = True
            entry.verdict = verdict
            if job is not None:
                entry.mirrors.jobs.add(job)
                annotations = job["metadata"].get("annotations") or {}
                if annotations.get(job_template.LAUNCHER) != self._id:
                    now = datetime.now(UTC)
                    created = datetime.fromisoformat(job["metadata"]["creationTimestamp"])
                    entry.since = now.strftime("%Y-%m-%dT%H:%M:%SZ")
                    entry.waiting_since = time.monotonic() - max(0.0, (now - created).total_seconds())
            entry.tell()

    def _news(self, job: str | None) -> None:
        """The watches have something to tell of a Job; of all for None."""
        for entry in list(self._entries.values()) if job is None else filter(None, [self._entries.get(job)]):
            entry.tell()

    # ---- wait

    def wait(
        self,
        handle: str,
        on_state: Callable[[State], None] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Outcome:
        """Block until it has ended, see `base.Launcher.wait`.

        What cannot start (no image, no node, too long in the queue) is given up, and its Job deleted, so that it holds
        nothing.

        Raises:
            ApiUnavailableError: the API server does not answer for too long. The Job goes on: submit the work again.
            BadInput: the launcher's rights do not suffice.
        """
        entry = self._entry(handle)
        before: State | None = None
        while True:
            with self._lock:
                seen = entry.changes
                observed = self._observe(entry)
                if (
                    on_line is not None
                    and entry.follower is None
                    and observed.state in (State.RUNNING, State.FINISHING)
                ):
                    self._logs.follow(entry)
            if observed.outcome is not None and on_line is not None:
                self._logs.finish(entry, observed.outcome)
            while on_line is not None and entry.lines:
                on_line(entry.lines.popleft())
            if observed.state is not before and on_state is not None:
                on_state(observed.state)
            before = observed.state
            if observed.outcome is not None:
                return observed.outcome
            if observed.ask is not None:
                observed.ask(entry)
                continue
            with self._lock:
                if entry.changes == seen:
                    entry.changed.wait(observed.wake)

    def _observe(self, entry: Entry) -> Observation:
        verdict = entry.verdict
        if entry.deleted:
            verdict = Outcome(State.FAILED, Failure.CANCELLED, "its Job was deleted by this flow")
        if self._left and verdict is None:
            verdict = Outcome(State.FAILED, Failure.CANCELLED, "this flow's process ends; its Job goes on")
        if verdict is not None:
            return Observation(verdict.state, verdict)
        if not entry.created:
            return Observation(State.PENDING)
        return self._observe_job(entry)

    def _observe_job(self, entry: Entry) -> Observation:
        job = entry.mirrors.jobs.get(entry.name)
        if job is None:
            job = entry.mirrors.jobs.last_seen(entry.name)
            if job is None or not classify.end_of(job):
                self._check_reachable(entry)
                return Observation(State.PENDING, ask=self._ask_whether_lost)
        pods = self._mirrors.own_pods(entry, job, gone=False)
        state = classify.state_of(job, pods)
        if state is State.FAILED:
            return self._observe_failed(entry, job)
        if state is State.SUCCEEDED:
            return Observation(state, classify.outcome_of(job, pods))
        self._check_reachable(entry)
        if state in (State.RUNNING, State.FINISHING):
            entry.waiting_since = None
            entry.trouble.clear()
            return Observation(state)
        return self._waiting.observe(entry, job, state, pods)

    def _check_reachable(self, entry: Entry) -> None:
        error = entry.mirrors.jobs.error or entry.mirrors.pods.error
        if error is not None:
            raise error

    def _observe_failed(self, entry: Entry, job: Json) -> Observation:
        pods = self._mirrors.own_pods(entry, job, gone=True)
        outcome = classify.outcome_of(job, pods)
        # of several, one that fails later by the other watch may be the cause
        told = any(classify.phase(pod) == "Failed" for pod in pods) and not any(
            classify.is_running(pod) for pod in self._mirrors.own_pods(entry, job, gone=False)
        )
        told = told or outcome.failure is Failure.DEADLINE_EXCEEDED
        now = time.monotonic()
        entry.failed_since = entry.failed_since or now
        if not told and now - entry.failed_since < POD_SETTLES:
            return Observation(State.FINISHING, wake=POD_SETTLES / 3)
        return Observation(State.FAILED, outcome)

    # ---- without the lock

    def _ask_whether_lost(self, entry: Entry) -> None:
        """The watch may only be late."""
        found = self._namespace.read(entry.name)
        if found is None:
            text = f"the Job {entry.name} was deleted from namespace {self._settings.namespace}, not by this flow"
            self._decide(entry, Outcome(State.FAILED, Failure.LOST, text))
        else:
            with self._lock:
                entry.mirrors.jobs.add(found)

    def _give_up(self, entry: Entry, failure: Failure, text: str) -> None:
        self._decide(entry, Outcome(State.FAILED, failure, text))
        self._remove(entry)

    def _decide(self, entry: Entry, outcome: Outcome) -> None:
        with self._lock:
            entry.verdict = entry.verdict or outcome
            entry.tell()

    # ---- logs

    def logs(self, handle: str) -> Iterator[str]:
        """The log's lines so far, of all the Job's pods; none once the Job is deleted."""
        return self._logs.lines(self._entry(handle))

    def _all_pods(self, entry: Entry) -> list[Json]:
        """Also those that are gone."""
        with self._lock:
            job = entry.mirrors.jobs.get(entry.name) or entry.mirrors.jobs.last_seen(entry.name)
            return self._mirrors.own_pods(entry, job, gone=True) if job is not None else []

    # ---- delete

    def delete(self, handle: str) -> None:
        """Delete the Job and its pods; nothing happens if it is gone already.

        Raises:
            ApiUnavailableError: the API server does not answer for too long; the `reap` flow will delete the Job.
        """
        entry = self._entry(handle)
        with self._lock:
            if self._left:
                return
            entry.deleted = True
            entry.tell()
        if entry.follower is not None:
            entry.follower.stop()
        self._remove(entry)

    def _remove(self, entry: Entry) -> None:
        if entry.removed:
            return
        self._namespace.remove(entry.name)
        entry.removed = True

    def sweep(self, run: str) -> None:
        """Delete all Jobs of a run that is over, whoever submitted them; what cannot be deleted now, `reap` will.

        Nothing of that run is submitted here any more: who waits for a Job that goes would take that for a loss.
        """
        with self._lock:
            self._over.add(run)
            for entry in self._entries.values():
                if entry.work.run == run:
                    entry.deleted = True
                    entry.tell()
        try:
            self._namespace.remove_all(run)
        except (ApiException, ApiUnavailableError) as error:
            LOGGER.error(
                "Jobs of run %s may be left: %s; their TTL or the reap flow will end them", run, reason_of(error)
            )

    def close(self, delete: bool = True) -> None:
        """Delete all Jobs that were submitted here and not deleted, and give back threads and connections.

        Who waits is told Cancelled, and so is who submits from now on.

        Args:
            delete: False leaves the Jobs, for another launcher to adopt.
        """
        with self._lock:
            self._closed, self._left = True, self._left or not delete
            entries = list(self._entries.values())
            for entry in entries:
                entry.deleted = entry.deleted or not self._left
                entry.tell()
        if not self._left:
            with ThreadPoolExecutor(DELETING) as pool:
                list(pool.map(self._delete_at_last, (entry.name for entry in entries if not entry.removed)))
        for entry in entries:
            if entry.follower is not None:
                entry.follower.stop()
        self._mirrors.stop()
        self._api.close()

    def _delete_at_last(self, name: str) -> None:
        try:
            self.delete(name)
        except (ApiException, ApiUnavailableError) as error:
            LOGGER.error("the Job %s was not deleted: %s; its TTL or the reap flow will", name, reason_of(error))

    def _entry(self, handle: str) -> Entry:
        with self._lock:
            try:
                return self._entries[handle]
            except KeyError:
                raise KeyError(
                    f"{handle} was not submitted here; submit the work, which adopts what is there"
                ) from None
