"""The last step of retrain: the candidate before the gate, and what came of it, in a checkout of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from components.artifacts.store import Store
from components.promote.status import PromotionStatus, promotion_status
from components.registry.versions import CANDIDATE
from flows.cancelling import this_run
from flows.checkout import Checkout
from flows.judging import BENCHMARK, Judging
from flows.launchers.base import Failure, Work, WorkFailedError
from flows.options import AlignSettings, environment, launcher_of
from flows.project import Project
from flows.stages import Reporter
from flows.tracking import tracked

ATTEMPTS = 3


@dataclass(frozen=True)
class PromotionResult:
    """What became of the candidate; `files` are to be committed."""

    promoted: bool
    text: str
    files: tuple[str, ...] = ()


Promote = Callable[[Checkout, Store, AlignSettings, Reporter], PromotionResult]


def by_gate(checkout: Checkout, store: Store, options: AlignSettings, log: Reporter) -> PromotionResult:
    """The gate as a task through the launcher, and what the registry says afterwards.

    Policy is the settings' (`gate.policy`): with `manual` a passed gate waits for a person, and that is an end here as
    well; the flow `promote` asks for the answer.

    Raises:
        BadInput: settings or data must change first.
        WorkFailedError: the registry is away, or another promotion comes first each time.
    """
    project = Project(checkout.root)
    settings = project.settings
    run = this_run()
    candidate = f"{settings.register_.model_name}@{CANDIDATE}"
    source = promotion_status(settings.register_, checkout.root, candidate).source
    with launcher_of(options, checkout) as launcher:
        judging = Judging(checkout, store, launcher, environment(project, checkout, options), log)
        gpus = options.gpus.get("evaluate", 0)
        keep_first_set(checkout, judging, run, gpus)
        _decided(judging, Work(run, "register", "gate", 0, ("components.register", "promote", source), gpus))
    status = promotion_status(settings.register_, checkout.root, source)
    return PromotionResult(status.is_champion, _summary(status), tuple(dict.fromkeys(judging.written)))


def keep_first_set(checkout: Checkout, judging: Judging, run: str, gpus: int) -> None:
    """Where there is no benchmark set yet: freeze one and commit it, before anything can be promoted on it.

    Whoever dies after a promotion must not take along what all later ones are to be judged on.

    Raises:
        WorkFailedError: it could not be frozen.
    """
    if tracked(checkout.root, BENCHMARK) is None:
        _decided(judging, Work(run, "register", "freeze", 0, ("components.register", "freeze"), gpus))
        checkout.save(judging.written, "gate: the first benchmark set\n")


def _decided(judging: Judging, work: Work) -> None:
    """Run a command of the registry until there is an answer, a no as well.

    Raises:
        WorkFailedError: there is none.
    """
    for attempt in range(ATTEMPTS):
        ended = judging(replace(work, attempt=attempt))
        if ended.failure is not Failure.RESUME_LATER:
            break
    if ended.failure not in (None, Failure.REFUSED):
        raise WorkFailedError(" ".join(work.command[1:]), ended)


def _summary(status: PromotionStatus) -> str:
    if status.is_champion:
        return f"{status.source} is the champion {status.production}/{status.champion}"
    if status.report is not None and status.report.passed:
        return f"{status.source} passed the gate and waits for an approval"
    refused = [check.name for check in status.report.refusals] if status.report is not None else []
    return f"{status.source} is refused: {', '.join(refused)}"
