"""The last step of retrain: the candidate before the gate, and what came of it, in a checkout of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from components.promote.status import PromotionStatus, promotion_status
from components.registry.versions import CANDIDATE
from components.storage.store import Store
from flows.checkout import Checkout
from flows.judging import JudgingInClone, keep_first_set
from flows.options import AlignSettings, launcher_of, runner_of
from flows.project import Project
from flows.reporter import Reporter


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
    candidate = f"{settings.register_.model_name}@{CANDIDATE}"
    source = promotion_status(settings, checkout.root, candidate).source
    with launcher_of(options, checkout) as launcher:
        judging = JudgingInClone(checkout, runner_of(options, checkout, project, store, launcher), log)
        gpus = options.gpus.get("evaluate", 0)
        keep_first_set(judging, gpus)
        judging.run("gate", ["promote", source], gpus)
    status = promotion_status(settings, checkout.root, source)
    return PromotionResult(status.is_champion, _summary(status), tuple(dict.fromkeys(judging.written)))


def _summary(status: PromotionStatus) -> str:
    if status.is_champion:
        return f"{status.source} is the champion {status.production}/{status.champion}"
    if status.report is not None and status.report.passed:
        return f"{status.source} passed the gate and waits for an approval"
    refused = [check.name for check in status.report.refusals] if status.report is not None else []
    return f"{status.source} is refused: {', '.join(refused)}"
