"""Judge a candidate, ask a person where policy says so, and make it the champion.

The flow adds *where* and *who*: the gate, its records and the alias are `components.register`'s, run as work through a
launcher and read back from the registry. A flow that dies on the way loses nothing: started again, it finds the report
that holds, the record that counts, and the champion that is.

How it ends: Completed, under a name of its own, where a decision was made, since then nothing is broken, the champion
serves on, and nobody has to get up at night. Failed where no decision could be made.

| state | type | meaning |
|---|---|---|
| Promoted | Completed | the version, or its copy in production, is the champion |
| Refused | Completed | the gate said no; the artifact has the rows |
| Rejected | Completed | a person said no |
| Unanswered | Completed | nobody answered in time; it stays challenger, and `dp2o promote --approved-by` still works |
| Failed | Failed | the registry is away, settings or data are wrong, or a defect |

An automation may listen to `prefect.flow-run.Refused` and the others by their names.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Literal, cast
from uuid import UUID, uuid4

from httpx import HTTPError
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectException
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from components.gate.verdicts import as_markdown
from components.promote.status import PromotionStatus, promotion_status
from components.redaction import scrubbed
from components.registry.versions import CANDIDATE
from components.settings import Settings, load_settings
from components.storage.store import Store
from flows import pages
from flows.cancelling import this_run
from flows.checkout import checked_out
from flows.judging import Judging, JudgingInClone, JudgingInFolder, keep_first_set
from flows.launchers.local import LocalLauncher
from flows.options import DEFAULTS, AlignSettings, launcher_of, runner_of, store_url
from flows.project import Project
from flows.reporter import Reporter

logger = logging.getLogger("dp2o.flows")

ROUNDS = 3
"""Times that a person is asked: each champion that came in between makes a new report, which needs a new look."""
GRACE = 600
"""Seconds that the server keeps a pause open after the wait is over, for `_answered_by` to say so."""
ANSWER_EVERY = 5.0
"""Seconds between two attempts of `_answered_by`."""

Policy = Literal["settings", "manual", "automatic"]


class Approval(RunInput):
    """The form that a person fills in."""

    approve: bool = Field(description="Promote it; otherwise it is rejected.")
    by: str = Field(min_length=1, description="Your name; recorded for good.")
    reason: str = Field(default="", description="Why; recorded for good.")


@dataclass(frozen=True)
class Request:
    """What is to be promoted, and how.

    Attributes:
        version_uri: `name@alias` or `name/version`; None for the candidate.
        policy: who decides after a yes of the gate; `settings` for params.yaml's `gate.policy`.
        wait_hours: for an answer.
        options: further ones of `python -m components.register promote`.
        gpus: for the gate.
    """

    version_uri: str | None = None
    policy: Policy = "settings"
    wait_hours: float = 72.0
    options: tuple[str, ...] = ()
    gpus: int = 0


@flow(name="promote", flow_run_name="promote {version_uri}")
def promote(
    project: Annotated[Path, Field(description="Folder with params.yaml, data/benchmark and components.")] = Path(),
    repository: Annotated[
        str | None, Field(description="Git repository to clone instead of a folder; the report is committed to branch.")
    ] = None,
    branch: Annotated[str, Field(description="Branch of the repository.")] = "main",
    version_uri: Annotated[
        str | None, Field(description="Version to promote: name@alias or name/version; none: the settings' candidate.")
    ] = None,
    policy: Annotated[
        Policy, Field(description="Who decides after a yes of the gate; settings: as gate.policy of params.yaml says.")
    ] = "settings",
    wait_hours: Annotated[float, Field(gt=0, description="How long to wait for a person's answer, hours.")] = 72.0,
    new_benchmark: Annotated[bool, Field(description="Freeze a new benchmark set from the test split first.")] = False,
    again: Annotated[bool, Field(description="Measure even if there is a report that still holds.")] = False,
    gpus: Annotated[int, Field(ge=0, description="GPUs for the gate; 0: on the CPU.")] = 0,
    options: Annotated[
        AlignSettings, Field(description="With a repository: launcher and store, as of align.")
    ] = DEFAULTS,
) -> State:
    """Judge a candidate, ask a person where policy says so, and make it the champion."""
    flags = (*(("--new-benchmark",) if new_benchmark else ()), *(("--again",) if again else ()))
    request = Request(version_uri, policy, wait_hours, flags, gpus)
    log = get_run_logger()
    with scrubbed():
        if repository is not None:
            return _in_a_clone(repository, branch, request, options, cast(Reporter, log))
        return _in_a_folder(project, request, cast(Reporter, log))


def _in_a_folder(project: Path, request: Request, log: Reporter) -> State:
    """The flow in a project's own folder."""
    settings = load_settings(project / "params.yaml")
    with LocalLauncher(project / settings.run.cache / "launcher", project=project) as launcher:
        judging = JudgingInFolder(project, launcher, this_run(), log)
        return decide(judging, request, settings, project)


def _in_a_clone(repository: str, branch: str, request: Request, options: AlignSettings, log: Reporter) -> State:
    """The flow with everything where a cluster has it: settings from git, images in the store, processes in Jobs."""
    with checked_out(repository, branch) as checkout:
        project = Project(checkout.root)
        store = Store(store_url(project, options))
        with launcher_of(options, checkout) as launcher:
            judging = JudgingInClone(checkout, runner_of(options, checkout, project, store, launcher), log)
            keep_first_set(judging, request.gpus)
            state = decide(judging, request, project.settings, checkout.root)
        checkout.save(list(dict.fromkeys(judging.written)), f"promote: {state.message}\n")
        return state


def decide(judging: Judging, request: Request, settings: Settings, root: Path) -> State:
    """The flow itself, within a flow run; `judging` says where work happens.

    Raises:
        BadInput: there is no such version.
        WorkFailedError: no decision could be made.
    """
    name = settings.register_.model_name
    # By number from here on: a candidate that is registered while this one waits must not take its approval.
    source = promotion_status(settings, root, request.version_uri or f"{name}@{CANDIDATE}").source
    policy = settings.gate.policy if request.policy == "settings" else request.policy
    options = request.options
    for number in range(ROUNDS):
        judging.run(f"gate-{number}", ["promote", source, "--policy", policy, *options], request.gpus)
        status = promotion_status(settings, root, source)
        if (end := _ended(status)) is not None:
            return end
        _publish(status, "waits for an approval")
        answer = _ask(status, request.wait_hours)
        if answer is None:
            _publish(status, "nobody answered in time; it stays challenger")
            return Completed(name="Unanswered", message=f"nobody answered for {source} in {request.wait_hours:g} hours")
        if answer.approve:
            assert status.report is not None
            said = (f"--approved-by={answer.by}", f"--reason={answer.reason}", f"--report={status.report.question}")
            judging.run(f"approve-{number}", ["promote", source, "--policy", "manual", *said], request.gpus)
        else:
            judging.run(f"reject-{number}", ["reject", source, f"--by={answer.by}", f"--reason={answer.reason}"])
        status = promotion_status(settings, root, source)
        if (end := _ended(status)) is not None:
            return end
        options = ()  # a set is not frozen twice, and the new report was just made
        get_run_logger().warning(
            "the approved report no longer holds: %s was judged anew and needs a new answer", source
        )
    raise RuntimeError(
        f"{source} was approved {ROUNDS} times, and each time another champion or setting had come in between: find "
        "out who promotes at the same time (dp2o history), then start this flow again"
    )


def _ended(status: PromotionStatus) -> State | None:
    """The final state, if a decision was made."""
    if status.is_champion:
        return _end(status, "Promoted", f"{status.production}/{status.champion} is the champion")
    if status.report is None:
        raise RuntimeError(f"{status.source} has no report although the gate ended: a defect, or its tags were changed")
    if not status.report.passed:
        refused = [check.name for check in status.report.refusals]
        return _end(status, "Refused", f"{status.source}: {', '.join(refused)}")
    if status.rejected_by:
        return _end(status, "Rejected", f"{status.source} by {status.rejected_by}")
    return None


def _end(status: PromotionStatus, name: str, message: str) -> State:
    _publish(status, f"{name}: {message}")
    return Completed(name=name, message=message)


def _publish(status: PromotionStatus, headline: str) -> None:
    """The gate's table as an artifact, one key a model: its history is in Prefect's page of the key."""
    table = as_markdown(status.report) if status.report is not None else ""
    key = "gate-" + re.sub(r"[^a-z0-9]+", "-", status.production.lower()).strip("-")
    pages.show(key, f"# {status.source}: {headline}\n\n{table}", headline)


def _ask(status: PromotionStatus, hours: float) -> Approval | None:
    """Pause until somebody fills in the form; None if nobody does."""
    assert status.report is not None
    form = Approval.with_initial_data(description=as_markdown(status.report))
    nobody = f"nobody {uuid4()}"
    # By the run's count as well: whoever starts an unanswered run again wants to be asked again.
    key = f"{status.report.question[:16]}-{flow_run.run_count}"
    with _answered_by(nobody, hours * 3600.0):
        answer = pause_flow_run(form, timeout=int(hours * 3600.0) + GRACE, poll_interval=2, key=key)
    return None if answer.by == nobody else answer


@contextmanager
def _answered_by(by: str, seconds: float) -> Iterator[None]:
    """Answer the form in nobody's name when the time is up.

    A pause that runs out is Failed to the server, whose automations wake somebody, although nothing has failed. So the
    pause never runs out while this process lives; if it dies, Failed is what the run then is.
    """
    run = UUID(str(flow_run.id))
    answered = Event()

    def answer() -> None:
        answered.wait(seconds)
        with get_client(sync_client=True) as client:
            while not answered.is_set():
                try:  # refused by the server before the pause has begun and after it has ended
                    client.resume_flow_run(run, run_input={"approve": False, "by": by})
                except (HTTPError, PrefectException) as error:
                    logger.warning("the end of the wait could not be told to Prefect, next try follows: %s", error)
                answered.wait(ANSWER_EVERY)

    # The settings (which server) are context variables; a thread starts without its parent's.
    thread = Thread(target=copy_context().run, args=(answer,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        answered.set()
        thread.join()
