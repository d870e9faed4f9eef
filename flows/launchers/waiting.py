"""Work that waits: in a queue, for a node, for its image. How long that is no trouble, and why it is given up."""

import time
from collections.abc import Callable, Sequence
from functools import partial

from kubernetes.utils.quantity import parse_quantity

from flows.launchers import classify, job_template, namespace
from flows.launchers.api import Json
from flows.launchers.base import Failure, State
from flows.launchers.entry import IDLE, Entry, Observation
from flows.launchers.namespace import Namespace
from flows.launchers.settings import KubernetesSettings

POD_EXPECTED = 5.0
"""Seconds after which a Job without a pod is asked for the reason."""

Question = Callable[[Entry], None]


class Waiting:
    """Looks at work that has not started, and gives it up where waiting cannot help.

    Args:
        give_up: decides the entry by a failure with a text, and deletes its Job.
    """

    def __init__(
        self, settings: KubernetesSettings, place: Namespace, give_up: Callable[[Entry, Failure, str], None]
    ) -> None:
        self._settings, self._namespace, self._give_up = settings, place, give_up

    def observe(self, entry: Entry, job: Json, state: State, pods: Sequence[Json]) -> Observation:
        """What to do about it now; called with the launcher's lock, while questions are asked without."""
        now = time.monotonic()
        entry.waiting_since = entry.waiting_since or now
        waited = now - entry.waiting_since
        if waited >= self._settings.queue_timeout:
            return Observation(state, ask=self._give_up_queueing)
        wake = self._settings.queue_timeout - waited
        troubled = ((pod, classify.trouble_of(pod)) for pod in reversed(pods))
        pod, trouble = next(((pod, trouble) for pod, trouble in troubled if trouble is not None), (None, None))
        if trouble is None or trouble[0] is not Failure.UNSCHEDULABLE:
            entry.trouble.pop(Failure.UNSCHEDULABLE, None)
        question = self._question(entry, job, state, pods, trouble)
        if question is not None:
            if waited >= POD_EXPECTED and now - entry.asked >= namespace.ASK_AGAIN:
                entry.asked = now
                return Observation(state, ask=question)
            wake = min(wake, max(POD_EXPECTED - waited, namespace.ASK_AGAIN - (now - entry.asked)))
        if trouble is not None:
            failure, text = trouble
            grace = self._grace(entry, failure, text, now)
            began = entry.trouble.get(failure, (now, ""))[0]
            entry.trouble[failure] = (began, text)
            if now - began >= grace:
                return Observation(state, ask=lambda entry: self._give_up_starting(entry, failure, text, pod))
            wake = min(wake, grace - (now - began))
        return Observation(state, wake=min(max(wake, 0.01), IDLE))

    def _question(
        self, entry: Entry, job: Json, state: State, pods: Sequence[Json], trouble: tuple[Failure, str] | None
    ) -> Question | None:
        """What the API server should be asked now and then."""
        if trouble is not None:
            return partial(self._ask_nodes, text=trouble[1]) if trouble[0] is Failure.UNSCHEDULABLE else None
        if state is State.QUEUED:
            return partial(self._ask_queue, job=job)
        entry.never = None
        if state is State.PENDING and classify.is_short_of_pods(job, pods):
            return self._ask_why_no_pod
        return None

    def _grace(self, entry: Entry, failure: Failure, text: str, now: float) -> float:
        if failure is not Failure.UNSCHEDULABLE:
            return self._settings.image_grace
        if classify.waits_for_others(text) and not entry.too_large:
            entry.trouble[failure] = (now, text)
        return self._settings.unschedulable_grace

    # ---- questions to the API server, without the lock

    def _ask_why_no_pod(self, entry: Entry) -> None:
        text = self._namespace.refusal(entry.name)
        if text is None:
            return
        now = time.monotonic()
        began = entry.trouble.get(Failure.REJECTED, (now, ""))[0]
        entry.trouble[Failure.REJECTED] = (began, text)
        if classify.is_over_quota_for_now(text):
            entry.trouble[Failure.REJECTED] = (now, text)  # waits for others, as in a queue
        elif "exceeded quota" in text or now - began >= self._settings.image_grace:
            self._give_up(entry, Failure.REJECTED, text)

    def _ask_queue(self, entry: Entry, job: Json) -> None:
        """Kueue's reason: for people, and to tell apart who waits for others and who waits for nothing."""
        text = self._namespace.not_admitted(job)
        if text is None:
            return
        entry.queue_says = f"Kueue: {text}"
        now = time.monotonic()
        entry.never = (entry.never or now) if classify.is_never_admitted(text) else None
        if entry.never is not None and now - entry.never >= self._settings.unschedulable_grace:
            self._give_up(entry, Failure.UNSCHEDULABLE, entry.queue_says)

    def _ask_nodes(self, entry: Entry, text: str) -> None:
        """Whether it wants more of something than any node has: schedulers before 1.34 do not tell."""
        wanted = job_template.requests_of(entry.work, self._settings)
        larger = []
        for name in sorted(classify.missing_resources(text) & wanted.keys()):
            largest = self._namespace.largest(name)
            if largest is not None and largest < parse_quantity(wanted[name]):
                larger.append(
                    f"a pod asks for {wanted[name]} {name}, and no node has more than {largest.normalize():f}"
                )
        entry.too_large = "; ".join(larger)

    def _give_up_queueing(self, entry: Entry) -> None:
        last = [text for _, text in entry.trouble.values()] or [entry.queue_says]
        told = f"; the last that was said: {last[-1]}" if last[-1] else ""
        self._give_up(entry, Failure.QUEUE_TIMEOUT, f"it waited for {self._settings.queue_timeout} s{told}")

    def _give_up_starting(self, entry: Entry, failure: Failure, text: str, pod: Json | None) -> None:
        if failure is Failure.UNSCHEDULABLE and not entry.too_large:
            short = classify.missing_resources(text)
            if short and self._namespace.is_held(short):
                with entry.changed:  # others have it now; that is a queue
                    entry.trouble[failure] = (time.monotonic(), text)
                    entry.changed.wait(min(namespace.ASK_AGAIN, self._settings.unschedulable_grace))
                return
        event = self._namespace.last_warning(pod) if pod is not None else None
        more = [one for one in (entry.too_large, event) if one and one not in text]
        self._give_up(entry, failure, text + "".join(f" ({one})" for one in more))
