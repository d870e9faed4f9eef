"""Delete Jobs that nobody waits for any more: a net under the flows' own deletion, for flows that died.

A Job is deleted when its flow run was cancelled, some time after the run has ended otherwise, when Prefect does not
know the run, or when it is older than any run may take. A run that lives keeps its Jobs. If Prefect does not answer,
nothing is deleted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from pydantic import Field

from components.redaction import scrubbed
from flows import pages
from flows.launchers.api import CONFLICT, NOT_FOUND, Api, Json
from flows.launchers.job_template import DP2O, PART_OF, RUN
from flows.launchers.settings import ApiSettings

AT_ONCE = 100
"""Runs asked for in one request, and Jobs listed in one."""


@dataclass(frozen=True)
class Limits:
    """When a Job may go.

    Attributes:
        after_end: how long after the end of its run, which may be started again and adopt it, and after a cancelling
            that never came to its end.
        unknown: age from which a Job of a run that Prefect does not know is deleted; younger ones may belong to another
            Prefect server that has just started them.
        oldest: age from which every Job is deleted.
    """

    after_end: timedelta
    unknown: timedelta
    oldest: timedelta


def reason_to_delete(job: Json, run: FlowRun | None, now: datetime, limits: Limits) -> str | None:
    """Why the Job may go; None if it must stay.

    Args:
        job: as the API server gives it.
        run: its flow run, None if Prefect does not know it.
        now: with time zone.
    """
    age = now - datetime.fromisoformat(job["metadata"]["creationTimestamp"])
    if age > limits.oldest:
        return f"it is {_hours(age)} old, and no run takes longer than {_hours(limits.oldest)}"
    if run is None:
        return f"Prefect does not know its run, and it is {_hours(age)} old" if age > limits.unknown else None
    return _reason_of(run.state, now, limits.after_end) if run.state is not None else None


def _reason_of(state: State, now: datetime, after_end: timedelta) -> str | None:
    """Why a Job of a run in this state may go; None if it must stay."""
    since = now - state.timestamp
    if state.is_cancelled():
        return f"its run was cancelled {_hours(since)} ago"
    if since <= after_end:
        return None
    if state.is_cancelling():
        return f"its run is being cancelled for {_hours(since)}, and its process is gone"
    return f"its run ended as {state.name} {_hours(since)} ago" if state.is_final() else None


def _hours(span: timedelta) -> str:
    return f"{span.total_seconds() / 3600:.1f} h"


def run_of(job: Json) -> str:
    """Id of the flow run; the annotation is whole where a label could not hold it."""
    metadata = job["metadata"]
    return str((metadata.get("annotations") or {}).get(RUN) or (metadata.get("labels") or {}).get(RUN, ""))


def known_runs(ids: Iterable[str]) -> dict[str, FlowRun]:
    """Those that Prefect knows."""
    wanted = [identifier for identifier in map(_uuid, sorted(set(ids))) if identifier is not None]
    found: dict[str, FlowRun] = {}
    with get_client(sync_client=True) as prefect:
        for start in range(0, len(wanted), AT_ONCE):
            some = FlowRunFilter(id=FlowRunFilterId(any_=wanted[start : start + AT_ONCE]))
            found.update((str(run.id), run) for run in prefect.read_flow_runs(flow_run_filter=some, limit=AT_ONCE))
    return found


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None  # not a run of Prefect's


def list_jobs(api: Api, namespace: str) -> list[Json]:
    """All Jobs of ours in the namespace."""
    query: Json = {"labelSelector": f"{PART_OF}={DP2O},{RUN}", "limit": AT_ONCE}
    jobs: list[Json] = []
    while True:
        page = api.request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs", query)
        jobs += page.get("items") or ()
        if not page["metadata"].get("continue"):
            return jobs
        query["continue"] = page["metadata"]["continue"]


def delete(api: Api, namespace: str, job: Json) -> bool:
    """Delete this Job and no other of its name; False if it was gone already."""
    body = {"propagationPolicy": "Background", "preconditions": {"uid": job["metadata"]["uid"]}}
    try:
        api.request("DELETE", f"/apis/batch/v1/namespaces/{namespace}/jobs/{job['metadata']['name']}", body=body)
    except ApiException as error:
        if error.status in (NOT_FOUND, CONFLICT):
            return False
        raise
    return True


def reap_jobs(namespace: str, limits: Limits, dry_run: bool, configuration: client.Configuration | None = None) -> Json:
    """Delete what may go; why, by the Job's name."""
    api = Api(ApiSettings(), configuration)
    try:
        jobs = list_jobs(api, namespace)
        runs = known_runs(run_of(job) for job in jobs)
        now = datetime.now(UTC)
        reasons: Json = {}
        for job in jobs:
            reason = reason_to_delete(job, runs.get(run_of(job)), now, limits)
            if reason is not None and (dry_run or delete(api, namespace, job)):
                reasons[job["metadata"]["name"]] = reason
        return reasons
    finally:
        api.close()


@flow(name="reap", description="Delete Kubernetes Jobs that no flow run waits for any more.", retries=0)
def reap(
    namespace: Annotated[str, Field(min_length=1, description="where the Jobs are")] = "dp2o",
    minutes_after_end: Annotated[
        int, Field(ge=0, description="delete a run's Jobs so many minutes after its end; a cancelled one's at once")
    ] = 10,
    minutes_unknown: Annotated[
        int, Field(ge=0, description="delete Jobs of runs that Prefect does not know when they are older than this")
    ] = 60,
    oldest_hours: Annotated[
        int, Field(gt=0, description="delete every Job older than this; more than queue and run timeout together")
    ] = 120,
    dry_run: Annotated[bool, Field(description="only say what would be deleted")] = False,
) -> dict[str, str]:
    """Delete Jobs that nobody waits for; why, by the Job's name."""
    limits = Limits(
        timedelta(minutes=minutes_after_end), timedelta(minutes=minutes_unknown), timedelta(hours=oldest_hours)
    )
    with scrubbed():
        reasons = reap_jobs(namespace, limits, dry_run)
    logger = get_run_logger()
    for name, reason in reasons.items():
        logger.info("%s %s: %s", "would delete" if dry_run else "deleted", name, reason)
    if not reasons:
        logger.info("nothing to delete in namespace %s", namespace)
    table = [{"job": name, "reason": reason} for name, reason in reasons.items()]
    pages.show_table("reaped", table, "a dry run: nothing was deleted" if dry_run else None)
    return reasons


if __name__ == "__main__":
    reap()
