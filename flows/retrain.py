"""From new LR images to a champion that has learned from them: a flow on a schedule, one at a time, and cut off at any
point.

    lease ─> intake ─> version n+1 ─> drift ─> base = champion ─> align ─> promote ─> done
                 │                      └─ no: waits, and says for what
                 └─ nothing new since the last training: ends

Every arrow is a commit on the branch or a record in the registry, and each step is skipped where its result is there.
A run that died is finished by the next one. `intake`, `drift` and `champion` run where stages run, through the
launcher: no image passes here.
"""

from __future__ import annotations

import os
from typing import cast

from prefect import flow, get_run_logger, runtime
from pydantic import BaseModel, ConfigDict, Field

from components.failpoints import Failpoint, no_failpoint
from components.redaction import scrubbed
from components.storage.s3 import Place, connect
from flows import pages, promotion_step
from flows.checkout import checked_out
from flows.fence import fenced, highest
from flows.lease import HeldByAnotherError, take
from flows.options import DEFAULTS, AlignSettings, store_url
from flows.project import Project
from flows.reporter import Reporter
from flows.retraining import Retrained, Retraining, Scope

LEASE = "dp2o/leases/retrain"
"""Below the store, where the lease is when nothing else is said."""


class LeaseSettings(BaseModel):
    """Where the lease is, and how long one that died is waited for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = Field(default=None, description="s3://bucket/key; default: dp2o/leases/retrain of an S3 store.")
    seconds: float = Field(default=300.0, gt=5, description="A holder that died is followed after so long.")


USUAL, LEASED = Scope(), LeaseSettings()


@flow(name="retrain")
def retrain(
    repository: str,
    branch: str,
    scope: Scope = USUAL,
    options: AlignSettings = DEFAULTS,
    lease: LeaseSettings = LEASED,
) -> Retrained:
    """Take in new LR images; where enough came, or other ones than before, align the champion on them and promote.

    Args:
        repository: URL or path of the git repository.
        branch: cloned, worked on, committed and pushed to.
        scope: backfill, dry run.
        options: launcher, store, GPUs, as of `align`.
        lease: where it is.

    Raises:
        BadInput: settings, data or S3's rights must change first.
        ResumeLater: a server is away: start it again.
        LostLeaseError: another run took over; nothing more was published.
        WorkFailedError: a process failed for good.
    """
    with scrubbed():
        return retrained(repository, branch, scope, options, lease)


def retrained(
    repository: str,
    branch: str,
    scope: Scope,
    options: AlignSettings,
    lease: LeaseSettings,
    failpoint: Failpoint = no_failpoint,
    promote: promotion_step.Promote = promotion_step.by_gate,
) -> Retrained:
    """The flow itself, within a flow run; `promote` judges and promotes the candidate of a checkout."""
    log = cast(Reporter, get_run_logger())
    with checked_out(repository, branch) as checkout:
        url = store_url(Project(checkout.root), options)
        seen = highest(checkout.root)
    place = _lease_place(lease, url)
    if place is None:
        log.warning("the store %s is not in S3 and lease.url is not set: nothing keeps two runs apart", url)
        outcome = Retraining(repository, branch, scope, options, None, failpoint, promote, log)()
    else:
        run = str(runtime.flow_run.id or os.getpid())
        try:
            held = take(connect(), place, f"retrain of {branch}, flow run {run}", lease.seconds, after=seen)
        except HeldByAnotherError as other:
            outcome = Retrained(ending="held by another", text=f"another retrain runs: {other}; nothing to do here")
        else:
            try:
                failpoint("lease taken")
                with fenced(held.fence):
                    outcome = Retraining(repository, branch, scope, options, held, failpoint, promote, log)()
            finally:
                held.release()
    log.info("%s", outcome.text)
    pages.show("retrain", _summary(outcome), outcome.ending)
    return outcome


def _lease_place(lease: LeaseSettings, store: str) -> Place | None:
    if lease.url:
        return Place.parse(lease.url, "lease.url")
    return Place.parse(f"{store.rstrip('/')}/{LEASE}", "store") if store.startswith("s3://") else None


def _summary(outcome: Retrained) -> str:
    lines = [f"**{outcome.ending}**", "", outcome.text]
    if outcome.intake is not None and outcome.intake.quarantined:
        lines += ["", "| set aside | objects |", "|---|---|"]
        lines += [f"| {reason} | {count} |" for reason, count in outcome.intake.quarantined.items()]
    if outcome.commit:
        lines += ["", f"Dataset: commit `{outcome.commit}`"]
    return "\n".join(lines)
