"""Jobs of one namespace, and what the API server can be asked about those that wait."""

import logging
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

from kubernetes.client.exceptions import ApiException
from kubernetes.utils.quantity import parse_quantity

from components.errors import BadInput
from flows.launchers import classify, job_template
from flows.launchers.api import (
    CONFLICT,
    FORBIDDEN,
    NOT_FOUND,
    UNAUTHORIZED,
    Api,
    ApiUnavailableError,
    Json,
    reason_of,
)
from flows.launchers.base import Failure, Outcome, State, Work
from flows.launchers.names import name_of
from flows.launchers.settings import KubernetesSettings

LOGGER = logging.getLogger(__name__)

ASK_AGAIN = 15.0
"""Seconds for which an answer about the whole namespace serves all who wait."""
KUEUE = "/apis/kueue.x-k8s.io/v1beta2"

Answer = TypeVar("Answer")


class Namespace:
    """The API server, as far as one namespace's Jobs are concerned; for several threads."""

    def __init__(self, api: Api, settings: KubernetesSettings) -> None:
        self._api, self._settings = api, settings
        self._asking = threading.Lock()
        self._answers: dict[str, tuple[float, object]] = {}

    def jobs(self, name: str | None = None) -> str:
        """Path of all Jobs, or of one."""
        path = f"/apis/batch/v1/namespaces/{self._settings.namespace}/jobs"
        return path if name is None else f"{path}/{name}"

    def pods(self) -> str:
        """Path of all pods."""
        return f"/api/v1/namespaces/{self._settings.namespace}/pods"

    # ---- Jobs

    def create(self, work: Work, job: Json, is_wanted: Callable[[], bool]) -> Json | Outcome | None:
        """The Job, created, or that which is there; how it ended where the cluster does not accept it; None where
        nobody wants it any more.

        Raises:
            BadInput: a Job of that name is there and is not this work's.
            ApiUnavailableError: the API server does not answer for too long.
        """
        deadline = time.monotonic() + self._settings.api.patience
        while is_wanted():
            try:
                # an unknown field is an error of the template; a server would drop it without a word
                return self._api.request("POST", self.jobs(), {"fieldValidation": "Strict"}, job)
            except ApiException as error:
                if error.status == UNAUTHORIZED:
                    raise BadInput(
                        f"the API server does not know who we are: {reason_of(error)}; check KUBECONFIG"
                    ) from error
                if error.status != CONFLICT:
                    return Outcome(State.FAILED, Failure.REJECTED, reason_of(error))
                existing = self._existing(work)
                if existing is not None:
                    return existing
                if time.monotonic() > deadline:
                    raise self._api.unavailable(error) from error
                time.sleep(0.5)  # it is being deleted, or a quota's count was changed by two at once
        return None

    def _existing(self, work: Work) -> Json | None:
        """The Job that is there, if it is this work's and stays."""
        name = name_of(work)
        found = self.read(name)
        if found is None:
            return None
        labels = found["metadata"].get("labels") or {}
        for label, value in job_template.identity(work).items():
            if labels.get(label) != value:
                raise BadInput(
                    f"the Job {name} exists in namespace {self._settings.namespace} with "
                    f"{label}={labels.get(label)}, not {value}: it is not ours; delete it, or use another namespace"
                )
        return None if "deletionTimestamp" in found["metadata"] else found

    def read(self, name: str) -> Json | None:
        """A Job as it is now; None if it is not there."""
        try:
            return self._api.request("GET", self.jobs(name))
        except ApiException as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def remove(self, name: str) -> None:
        """Delete a Job and its pods; nothing happens if it is gone."""
        try:
            self._api.request("DELETE", self.jobs(name), {"propagationPolicy": "Background"})
        except ApiException as error:
            if error.status != NOT_FOUND:
                raise

    def remove_all(self, run: str) -> None:
        """Delete all Jobs of a run."""
        listed = self._api.request("GET", self.jobs(), {"labelSelector": job_template.selector(run)})
        for job in listed.get("items") or ():
            self.remove(job["metadata"]["name"])

    # ---- why something waits

    def refusal(self, job: str) -> str | None:
        """Why no pod of the Job may be made: a quota, an admission rule, a missing service account. Only events say."""
        return self._shared("refusals", self._refusals).get(job)

    def _refusals(self) -> dict[str, str]:
        query = {"fieldSelector": "involvedObject.kind=Job,reason=FailedCreate"}
        events = self._api.request("GET", self._events(), query).get("items") or ()
        return {event["involvedObject"]["name"]: event.get("message", "") for event in events}

    def _events(self) -> str:
        return f"/api/v1/namespaces/{self._settings.namespace}/events"

    def is_held(self, resources: set[str]) -> bool:
        """Whether a pod of this namespace has one of these; other namespaces are not ours to look at."""

        def ask() -> bool:
            query = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
            pods = self._api.request("GET", self.pods(), query).get("items") or ()
            return any(classify.holds(pod, resources) for pod in pods)

        return self._shared(f"held {sorted(resources)}", ask)

    def last_warning(self, pod: Json) -> str | None:
        """The newest warning about the pod that says more than that something is tried again."""
        query = {"fieldSelector": f"involvedObject.uid={pod['metadata']['uid']},type=Warning"}
        try:
            events = self._api.request("GET", self._events(), query).get("items") or ()
        except (ApiException, ApiUnavailableError) as error:
            LOGGER.info("events of %s: %s", pod["metadata"]["name"], reason_of(error))
            return None
        newest = sorted(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
        texts = [str(event.get("message", "")) for event in newest if event.get("reason") != "BackOff"]
        return max(texts, key=len) if texts else None

    def not_admitted(self, job: Json) -> str | None:
        """Kueue's reason for not admitting the Job yet; None where Kueue says nothing, or we may not ask."""
        path = f"{KUEUE}/namespaces/{self._settings.namespace}/workloads"
        workloads = self._shared("workloads", lambda: self._all(path))
        return next((text for item in workloads if (text := classify.not_admitted(item, job)) is not None), None)

    def largest(self, resource: str) -> Decimal | None:
        """Of the nodes' allocatable; None if we may not read nodes, or there are none."""
        nodes = self._shared("nodes", lambda: self._all("/api/v1/nodes"))
        allocatable = [(node.get("status") or {}).get("allocatable") or {} for node in nodes]
        return max((parse_quantity(one.get(resource, "0")) for one in allocatable), default=None)

    def _all(self, path: str) -> list[Json]:
        """The items; none where they do not exist, or are not ours to read."""
        try:
            return list(self._api.request("GET", path).get("items") or ())
        except ApiException as error:
            if error.status not in (NOT_FOUND, FORBIDDEN):
                raise
            LOGGER.info("%s: %s", path, reason_of(error))
            return []

    def _shared(self, question: str, ask: Callable[[], Answer]) -> Answer:
        """One answer for all who wait."""
        with self._asking:
            asked, answer = self._answers.get(question, (-ASK_AGAIN, None))
            if time.monotonic() - asked >= min(ASK_AGAIN, self._settings.unschedulable_grace):
                answer = ask()
                self._answers[question] = (time.monotonic(), answer)
            return answer  # type: ignore[return-value]
