"""Work as Kubernetes Jobs: one `batch/v1` Job for each piece.

A Job's name follows from the work alone, so that submitting again, by a restarted flow or after a create whose answer
was lost, finds what is there. One watch on Jobs and one on pods serve all who wait. The launcher needs these rights
in its namespace: create, get, list, watch and delete Jobs; get, list and watch pods; get their logs; list events.
"""

import logging
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

import urllib3
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from components.errors import BadInput
from flows.launchers import classify, job_template
from flows.launchers.api import CONFLICT, NOT_FOUND, UNAUTHORIZED, Api, ApiUnavailableError, Json, said
from flows.launchers.base import Ended, Failure, State, Work
from flows.launchers.names import name_of
from flows.launchers.pod_logs import POD_SETTLES, Follower, PodLog
from flows.launchers.settings import KubernetesSettings
from flows.launchers.watch import Mirror

LOGGER = logging.getLogger(__name__)

POD_EXPECTED = 5.0
"""Seconds after which a Job without a pod is asked for the reason."""
ASK_AGAIN = 15.0
"""Seconds for which an answer about the whole namespace serves all who wait."""
LAST_LINES = 10.0
"""Seconds the rest of a log may take after the Job's end."""
IDLE = 60.0
"""Seconds after which a waiter looks even if it was told nothing."""
DELETING = 8
"""Deletions at once when the launcher closes."""


@dataclass
class _Watched:
    """A run's Jobs and pods."""

    jobs: Mirror
    pods: Mirror


@dataclass
class _Entry:
    """One piece of work."""

    work: Work
    name: str
    watched: _Watched
    changed: threading.Condition
    changes: int = 0
    created: bool = False
    deleted: bool = False  # nobody wants it any more
    removed: bool = False  # the API server knows that, too
    verdict: Ended | None = None
    waiting_since: float | None = None
    failed_since: float | None = None
    asked: float = 0.0
    since: str | None = None
    """Of the log: earlier lines were told by the flow before this one."""
    trouble: dict[Failure, tuple[float, str]] = field(default_factory=dict)
    lines: deque[str] = field(default_factory=deque)
    follower: Follower | None = None


@dataclass(frozen=True)
class _Look:
    """What the mirrors say of one piece of work, and what to do next.

    Attributes:
        ask: something the mirrors do not know must be asked of the API server.
        wake: seconds until it should be looked at even without news.
    """

    state: State
    ended: Ended | None = None
    ask: Callable[[_Entry], None] | None = None
    wake: float = IDLE


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
        self._entries: dict[str, _Entry] = {}
        self._watched: dict[str, _Watched] = {}
        self._pods_of: dict[str, dict[str, str]] = {}  # by Job, then pod: the pod's run
        self._over: set[str] = set()  # runs that were swept
        self._closed = self._left = False
        self._asking = threading.Lock()
        self._answers: dict[str, tuple[float, object]] = {}

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
            entry = _Entry(work, name, self._watch(work.run), threading.Condition(self._lock))
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
            self._decide(entry, Ended(State.FAILED, Failure.LOST, f"it was not created: {error}"))
            raise
        with self._lock:
            unwanted = entry.deleted and not self._left
        if unwanted:  # since it was asked for: whoever deleted it then may have found nothing yet
            self._remove_job(name)
        return name

    def _watch(self, run: str) -> _Watched:
        """The run's mirrors, made when first needed."""
        if run not in self._watched:
            selector, timing = job_template.selector(run), self._settings.api
            watched = _Watched(
                Mirror(self._api, self._jobs(), selector, classify.slim_job, self._job_changed, self._lock, timing),
                Mirror(self._api, self._pods(), selector, classify.slim_pod, self._pod_changed, self._lock, timing),
            )
            if not self._closed:
                watched.jobs.start()
                watched.pods.start()
            self._watched[run] = watched
        return self._watched[run]

    def _jobs(self, name: str | None = None) -> str:
        path = f"/apis/batch/v1/namespaces/{self._settings.namespace}/jobs"
        return path if name is None else f"{path}/{name}"

    def _pods(self) -> str:
        return f"/api/v1/namespaces/{self._settings.namespace}/pods"

    def _create(self, entry: _Entry) -> None:
        template = self._templates[self._settings.template_of(entry.work.stage)]
        job = job_template.job_for(entry.work, template, self._settings, self._id)
        deadline = time.monotonic() + self._settings.api.patience
        while not entry.deleted:
            try:
                # an unknown field is an error of the template; a server would drop it without a word
                found = self._api.request("POST", self._jobs(), {"fieldValidation": "Strict"}, job)
                break
            except ApiException as error:
                if error.status == UNAUTHORIZED:
                    raise BadInput(
                        f"the API server does not know who we are: {said(error)}; check KUBECONFIG"
                    ) from error
                if error.status != CONFLICT:
                    self._created(entry, None, Ended(State.FAILED, Failure.REJECTED, said(error)))
                    return
                existing = self._existing(entry)
                if existing is not None:
                    found = existing
                    break
                if time.monotonic() > deadline:
                    raise self._api.unavailable(error) from error
                time.sleep(0.5)  # it is being deleted, or a quota's count was changed by two at once
        else:
            return
        self._created(entry, found, None)

    def _existing(self, entry: _Entry) -> Json | None:
        """The Job that is there, if it is this work's and stays."""
        try:
            found = self._api.request("GET", self._jobs(entry.name))
        except ApiException as error:
            if error.status == NOT_FOUND:
                return None
            raise
        labels = found["metadata"].get("labels") or {}
        for name, value in job_template.identity(entry.work).items():
            if labels.get(name) != value:
                raise BadInput(
                    f"the Job {entry.name} exists in namespace {self._settings.namespace} with "
                    f"{name}={labels.get(name)}, not {value}: it is not ours; delete it, or use another namespace"
                )
        return None if "deletionTimestamp" in found["metadata"] else found

    def _created(self, entry: _Entry, job: Json | None, verdict: Ended | None) -> None:
        with self._lock:
            entry.created = True
            entry.verdict = verdict
            if job is not None:
                entry.watched.jobs.add(job)
                annotations = job["metadata"].get("annotations") or {}
                if annotations.get(job_template.LAUNCHER) != self._id:
                    now = datetime.now(UTC)
                    created = datetime.fromisoformat(job["metadata"]["creationTimestamp"])
                    entry.since = now.strftime("%Y-%m-%dT%H:%M:%SZ")
                    entry.waiting_since = time.monotonic() - max(0.0, (now - created).total_seconds())
            self._tell(entry)

    # ---- what the watches tell

    def _job_changed(self, job: Json | None) -> None:
        if job is None:
            for entry in self._entries.values():
                self._tell(entry)
            return
        known = self._entries.get(job["metadata"]["name"])
        if known is not None:
            self._tell(known)

    def _pod_changed(self, pod: Json | None) -> None:
        if pod is None:
            self._job_changed(None)
            return
        job = classify.job_of(pod)
        if job is not None and job in self._entries:
            self._pods_of.setdefault(job, {})[pod["metadata"]["name"]] = pod["metadata"]["uid"]
            self._tell(self._entries[job])
        elif job is not None:
            # adopted later: a list tells it before the work is submitted
            self._pods_of.setdefault(job, {})[pod["metadata"]["name"]] = pod["metadata"]["uid"]

    @staticmethod
    def _tell(entry: _Entry) -> None:
        entry.changes += 1
        entry.changed.notify_all()

    def _own_pods(self, entry: _Entry, job: Json, gone: bool) -> list[Json]:
        """The Job's pods, oldest first; with `gone` also those that are gone, as they were last."""
        mirror = entry.watched.pods
        names = self._pods_of.get(entry.name, ())
        seen = (mirror.get(name) or (mirror.last_seen(name) if gone else None) for name in names)
        own = [pod for pod in seen if pod is not None and classify.belongs(pod, job)]
        return sorted(own, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))

    # ---- wait

    def wait(
        self,
        handle: str,
        on_state: Callable[[State], None] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Ended:
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
                look = self._look(entry)
                if on_line is not None and entry.follower is None and look.state in (State.RUNNING, State.FINISHING):
                    self._follow(entry)
            if look.ended is not None and on_line is not None:
                self._finish_log(entry, look.ended)
            while on_line is not None and entry.lines:
                on_line(entry.lines.popleft())
            if look.state is not before and on_state is not None:
                on_state(look.state)
            before = look.state
            if look.ended is not None:
                return look.ended
            if look.ask is not None:
                look.ask(entry)
                continue
            with self._lock:
                if entry.changes == seen:
                    entry.changed.wait(look.wake)

    def _look(self, entry: _Entry) -> _Look:
        verdict = entry.verdict
        if entry.deleted:
            verdict = Ended(State.FAILED, Failure.CANCELLED, "its Job was deleted by this flow")
        if self._left and verdict is None:
            verdict = Ended(State.FAILED, Failure.CANCELLED, "this flow's process ends; its Job goes on")
        if verdict is not None:
            return _Look(verdict.state, verdict)
        if not entry.created:
            return _Look(State.PENDING)
        return self._look_at_job(entry)

    def _look_at_job(self, entry: _Entry) -> _Look:
        job = entry.watched.jobs.get(entry.name)
        if job is None:
            job = entry.watched.jobs.last_seen(entry.name)
            if job is None or not classify.end_of(job):
                self._check_reachable(entry)
                return _Look(State.PENDING, ask=self._ask_whether_lost)
        pods = self._own_pods(entry, job, gone=False)
        state = classify.state_of(job, pods)
        if state is State.FAILED:
            return self._look_at_failed(entry, job)
        if state is State.SUCCEEDED:
            return _Look(state, classify.ended(job, pods))
        self._check_reachable(entry)
        if state in (State.RUNNING, State.FINISHING):
            entry.waiting_since = None
            entry.trouble.clear()
            return _Look(state)
        return self._look_at_waiting(entry, job, state, pods)

    def _check_reachable(self, entry: _Entry) -> None:
        error = entry.watched.jobs.error or entry.watched.pods.error
        if error is not None:
            raise error

    def _look_at_failed(self, entry: _Entry, job: Json) -> _Look:
        pods = self._own_pods(entry, job, gone=True)
        ended = classify.ended(job, pods)
        # of several, one that fails later by the other watch may be the cause
        told = any(classify.phase(pod) == "Failed" for pod in pods) and not any(
            classify.is_running(pod) for pod in self._own_pods(entry, job, gone=False)
        )
        told = told or ended.failure is Failure.DEADLINE_EXCEEDED
        now = time.monotonic()
        entry.failed_since = entry.failed_since or now
        if not told and now - entry.failed_since < POD_SETTLES:
            return _Look(State.FINISHING, wake=POD_SETTLES / 3)
        return _Look(State.FAILED, ended)

    def _look_at_waiting(self, entry: _Entry, job: Json, state: State, pods: list[Json]) -> _Look:
        now = time.monotonic()
        settings = self._settings
        entry.waiting_since = entry.waiting_since or now
        waited = now - entry.waiting_since
        if waited >= settings.queue_timeout:
            return _Look(state, ask=self._give_up_queueing)
        wake = settings.queue_timeout - waited
        troubled = ((pod, classify.trouble_of(pod)) for pod in reversed(pods))
        pod, trouble = next(((pod, trouble) for pod, trouble in troubled if trouble is not None), (None, None))
        if trouble is None or trouble[0] is not Failure.UNSCHEDULABLE:
            entry.trouble.pop(Failure.UNSCHEDULABLE, None)
        if trouble is not None:
            failure, text = trouble
            if failure is Failure.UNSCHEDULABLE:
                grace = settings.unschedulable_grace
                if classify.waits_for_others(text):
                    entry.trouble[failure] = (now, text)
            else:
                grace = settings.image_grace
            began = entry.trouble.get(failure, (now, ""))[0]
            entry.trouble[failure] = (began, text)
            if now - began >= grace:
                return _Look(state, ask=lambda entry: self._give_up_starting(entry, failure, text, pod))
            wake = min(wake, grace - (now - began))
        elif classify.is_short_of_pods(job, pods) and state is State.PENDING:
            if waited >= POD_EXPECTED and now - entry.asked >= ASK_AGAIN:
                entry.asked = now
                return _Look(state, ask=self._ask_why_no_pod)
            wake = min(wake, max(POD_EXPECTED - waited, ASK_AGAIN - (now - entry.asked)))
        return _Look(state, wake=min(max(wake, 0.01), IDLE))

    # ---- questions to the API server, without the lock

    def _ask_whether_lost(self, entry: _Entry) -> None:
        """The watch may only be late."""
        try:
            found = self._api.request("GET", self._jobs(entry.name))
        except ApiException as error:
            if error.status != NOT_FOUND:
                raise
            text = f"the Job {entry.name} was deleted from namespace {self._settings.namespace}, not by this flow"
            self._decide(entry, Ended(State.FAILED, Failure.LOST, text))
        else:
            with self._lock:
                entry.watched.jobs.add(found)

    def _ask_why_no_pod(self, entry: _Entry) -> None:
        """A quota, an admission rule or a missing service account: only events say so."""
        refusals = self._cached("refusals", self._refusals)
        text = refusals.get(entry.name) if isinstance(refusals, dict) else None
        if text is None:
            return
        now = time.monotonic()
        began = entry.trouble.get(Failure.REJECTED, (now, ""))[0]
        entry.trouble[Failure.REJECTED] = (began, text)
        if classify.is_over_quota_for_now(text):
            entry.trouble[Failure.REJECTED] = (now, text)  # waits for others, as in a queue
        elif "exceeded quota" in text or now - began >= self._settings.image_grace:
            self._give_up(entry, Failure.REJECTED, text)

    def _refusals(self) -> dict[str, str]:
        query = {"fieldSelector": "involvedObject.kind=Job,reason=FailedCreate"}
        events = self._api.request("GET", self._events(), query).get("items") or ()
        return {event["involvedObject"]["name"]: event.get("message", "") for event in events}

    def _events(self) -> str:
        return f"/api/v1/namespaces/{self._settings.namespace}/events"

    def _give_up_queueing(self, entry: _Entry) -> None:
        last = [text for _, text in entry.trouble.values()]
        told = f"; the last that was said: {last[-1]}" if last else ""
        text = f"it waited for {self._settings.queue_timeout} s{told}"
        self._give_up(entry, Failure.QUEUE_TIMEOUT, text)

    def _give_up_starting(self, entry: _Entry, failure: Failure, text: str, pod: Json | None) -> None:
        if failure is Failure.UNSCHEDULABLE:
            short = classify.missing_resources(text)
            if short and self._cached(f"held {sorted(short)}", lambda: self._is_held(short)):
                with self._lock:  # others have it now; that is a queue
                    entry.trouble[failure] = (time.monotonic(), text)
                    entry.changed.wait(min(ASK_AGAIN, self._settings.unschedulable_grace))
                return
        event = self._last_warning(pod) if pod is not None else None
        said_by_event = f" ({event})" if event and event not in text else ""
        self._give_up(entry, failure, f"{text}{said_by_event}")

    def _is_held(self, resources: set[str]) -> bool:
        """Whether a pod of this namespace has one of these; other namespaces are not ours to look at."""
        query = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
        pods = self._api.request("GET", self._pods(), query).get("items") or ()
        return any(classify.holds(pod, resources) for pod in pods)

    def _last_warning(self, pod: Json) -> str | None:
        """The newest warning about the pod that says more than that something is tried again."""
        query = {"fieldSelector": f"involvedObject.uid={pod['metadata']['uid']},type=Warning"}
        try:
            events = self._api.request("GET", self._events(), query).get("items") or ()
        except (ApiException, ApiUnavailableError) as error:
            LOGGER.info("events of %s: %s", pod["metadata"]["name"], said(error))
            return None
        newest = sorted(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
        texts = [str(event.get("message", "")) for event in newest if event.get("reason") != "BackOff"]
        return max(texts, key=len) if texts else None

    def _cached(self, question: str, ask: Callable[[], object]) -> object:
        """One answer for all who wait."""
        with self._asking:
            asked, answer = self._answers.get(question, (-ASK_AGAIN, None))
            if time.monotonic() - asked >= min(ASK_AGAIN, self._settings.unschedulable_grace):
                answer = ask()
                self._answers[question] = (time.monotonic(), answer)
            return answer

    def _give_up(self, entry: _Entry, failure: Failure, text: str) -> None:
        self._decide(entry, Ended(State.FAILED, failure, text))
        self._remove(entry)

    def _decide(self, entry: _Entry, ended: Ended) -> None:
        with self._lock:
            entry.verdict = entry.verdict or ended
            self._tell(entry)

    # ---- logs

    def _started_pods(self, entry: _Entry) -> list[tuple[str, PodLog]]:
        with self._lock:
            job = entry.watched.jobs.get(entry.name) or entry.watched.jobs.last_seen(entry.name)
            pods = self._own_pods(entry, job, gone=True) if job is not None else []
        told = (pod for pod in pods if classify.has_started(pod) and classify.index_of(pod) == "0")
        return [(pod["metadata"]["uid"], self._log(pod, entry.since)) for pod in told]

    def _log(self, pod: Json, since: str | None) -> PodLog:
        path = f"{self._pods()}/{pod['metadata']['name']}/log"
        return PodLog(self._api, path, job_template.CONTAINER, since)

    def _follow(self, entry: _Entry) -> None:
        def emit(line: str) -> None:
            first = not entry.lines
            entry.lines.append(line)
            if first:
                with self._lock:
                    self._tell(entry)

        entry.follower = Follower(lambda: self._started_pods(entry), emit)
        entry.follower.start()

    def _finish_log(self, entry: _Entry, ended: Ended) -> None:
        with self._lock:
            if entry.follower is None and ended.exit_code is not None:  # it was shorter than a look
                self._follow(entry)
        if entry.follower is not None:
            entry.follower.finish(LAST_LINES)

    def logs(self, handle: str) -> Iterator[str]:
        """The log's lines so far, of all the Job's pods; none once the Job is deleted."""
        entry = self._entry(handle)
        with self._lock:
            job = entry.watched.jobs.get(handle) or entry.watched.jobs.last_seen(handle)
            pods = self._own_pods(entry, job, gone=True) if job is not None else []
        for pod in pods:
            log = self._log(pod, None)
            for _ in range(5):
                try:
                    yield from log.read(follow=False)
                    break
                except ApiException as error:
                    if error.status in (400, NOT_FOUND):
                        break  # it has not started, or is gone
                    LOGGER.info("log of %s: %s", pod["metadata"]["name"], said(error))
                except (urllib3.exceptions.HTTPError, OSError) as error:
                    LOGGER.info("log of %s: %s", pod["metadata"]["name"], said(error))
                time.sleep(self._settings.api.first_pause)

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
            self._tell(entry)
        if entry.follower is not None:
            entry.follower.stop()
        self._remove(entry)

    def _remove(self, entry: _Entry) -> None:
        if entry.removed:
            return
        self._remove_job(entry.name)
        entry.removed = True

    def _remove_job(self, name: str) -> None:
        try:
            self._api.request("DELETE", self._jobs(name), {"propagationPolicy": "Background"})
        except ApiException as error:
            if error.status != NOT_FOUND:
                raise

    def sweep(self, run: str) -> None:
        """Delete all Jobs of a run that is over, whoever submitted them; what cannot be deleted now, `reap` will.

        Nothing of that run is submitted here any more: who waits for a Job that goes would take that for a loss.
        """
        with self._lock:
            self._over.add(run)
            for entry in self._entries.values():
                if entry.work.run == run:
                    entry.deleted = True
                    self._tell(entry)
        try:
            listed = self._api.request("GET", self._jobs(), {"labelSelector": job_template.selector(run)})
            for job in listed.get("items") or ():
                self._remove_job(job["metadata"]["name"])
        except (ApiException, ApiUnavailableError) as error:
            LOGGER.error("Jobs of run %s may be left: %s; their TTL or the reap flow will end them", run, said(error))

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
                self._tell(entry)
            watched = list(self._watched.values())
        if not self._left:
            with ThreadPoolExecutor(DELETING) as pool:
                list(pool.map(self._delete_at_last, (entry.name for entry in entries if not entry.removed)))
        for entry in entries:
            if entry.follower is not None:
                entry.follower.stop()
        for mirrors in watched:
            mirrors.jobs.stop()
            mirrors.pods.stop()
        self._api.close()

    def _delete_at_last(self, name: str) -> None:
        try:
            self.delete(name)
        except (ApiException, ApiUnavailableError) as error:
            LOGGER.error("the Job %s was not deleted: %s; its TTL or the reap flow will", name, said(error))

    def _entry(self, handle: str) -> _Entry:
        with self._lock:
            try:
                return self._entries[handle]
            except KeyError:
                raise KeyError(
                    f"{handle} was not submitted here; submit the work, which adopts what is there"
                ) from None
