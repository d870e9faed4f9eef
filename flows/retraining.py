"""The steps of a retraining, each a commit on the branch, and each skipped where its result is there."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

import yaml
from prefect import runtime
from pydantic import BaseModel, ConfigDict

from components.artifacts import paths
from components.artifacts.documents import Document
from components.artifacts.retraining import (
    ChampionReport,
    DriftReport,
    IntakeReport,
    TrainedShards,
    TrainingAttempt,
)
from components.errors import BadInput
from components.failpoints import Failpoint
from components.in_use.store import using
from components.pipeline.files import USES_BASE, add_dependency, set_param, shareable_params
from components.storage.dvc_hash import read_listing
from components.storage.store import Content, Store
from components.task.document import Input, Result, Task, as_input
from flows import pages, promotion_step
from flows.align import Aligned, align
from flows.cancelling import this_run
from flows.checkout import Checkout, checked_out
from flows.lease import Lease
from flows.options import AlignSettings, launcher_of, runner_of, store_url
from flows.project import Project
from flows.reporter import Reporter
from flows.tracking import track_file, track_folder, tracked

INCOMING, ORIGINS, STATE = (path.as_posix() for path in (paths.INCOMING, paths.INCOMING_ROWS, paths.INTAKE_STATE))
DATASET = paths.DATASET.as_posix(), paths.DATASET_ROWS.as_posix()
CHAMPION, TRAINED = paths.CHAMPION.as_posix(), paths.TRAINED_SHARDS.as_posix()
INTAKE_REPORT, DRIFT_REPORT = paths.INTAKE_REPORT.as_posix(), paths.DRIFT_REPORT.as_posix()
DRIFT_PAGE, CHAMPION_REPORT = paths.DRIFT_PAGE.as_posix(), paths.CHAMPION_REPORT.as_posix()

Report = TypeVar("Report", bound=Document)
Ending = Literal["held by another", "nothing new", "waits", "dry run", "promoted", "not promoted"]


class Scope(BaseModel):
    """What a run looks at, and how far it goes; the usual run says nothing here.

    Attributes:
        since, until, everything: a backfill: look at objects of those dates again, at those set aside, too.
        dry_run: look and judge, and say what would be done; nothing is written, committed, trained or promoted.
        train: decided by a person: `always` trains on what is new, however little, `never` only takes it in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    since: datetime | None = None
    until: datetime | None = None
    everything: bool = False
    dry_run: bool = False
    train: Literal["by decision", "always", "never"] = "by decision"


class Retrained(BaseModel):
    """What a run came to.

    Attributes:
        ending: in two words.
        text: for people.
        intake, drift: their reports, where they ran.
        commit: of the dataset's new version, where there is one.
        promotion: what became of the model, where one was trained.
    """

    ending: Ending
    text: str
    intake: IntakeReport | None = None
    drift: DriftReport | None = None
    commit: str | None = None
    promotion: str = ""


class Retraining:
    """One run that holds the lease."""

    def __init__(
        self,
        repository: str,
        branch: str,
        scope: Scope,
        options: AlignSettings,
        lease: Lease | None,
        failpoint: Failpoint,
        promote: promotion_step.Promote,
        log: Reporter,
    ) -> None:
        self.repository, self.branch, self.scope, self.options = repository, branch, scope, options
        self.lease, self.failpoint, self.promote, self.log = lease, failpoint, promote, log
        self.commit: str | None = None

    def __call__(self) -> Retrained:
        with checked_out(self.repository, self.branch) as checkout, self._store_in_use(checkout):
            found, intake = self._take_in(checkout)
            if self.scope.dry_run:
                count = len(intake.accepted)
                would = "would be taken in" if count else "nothing would be taken in"
                return Retrained(ending="dry run", text=f"dry run: {count} pictures {would}", intake=intake)
            drift, pending = self._compare(checkout, found)
            if drift is None:
                text = f"nothing new: {intake.listed} objects under {intake.source}, none that no training has seen"
                return Retrained(ending="nothing new", text=text, intake=intake, commit=self.commit)
            decision = drift.decision
            train = self.scope.train == "always" or (self.scope.train == "by decision" and decision.retrain)
            if not train:
                text = "scope.train is never" if self.scope.train == "never" else decision.text
                return Retrained(ending="waits", text=text, intake=intake, drift=drift, commit=self.commit)
            self.log.info("%s", decision.text)
            self._base(checkout, pending)
        aligned: Aligned = align(self.repository, self.branch, options=self.options)
        self.failpoint("aligned")
        with checked_out(self.repository, self.branch) as checkout:
            self._check()
            store = Store(store_url(Project(checkout.root), self.options))
            result = self.promote(checkout, store, self.options, self.log)
            self.failpoint("promoted")
            known = TrainedShards.read_if_there(checkout.root) or TrainedShards()
            TrainedShards(shards=tuple(sorted({*known.shards, *pending}))).write(checkout.root)
            self._save(checkout, [TRAINED, *result.files], f"retrain: {result.text}\n")
            self.failpoint("finished")
        ending: Ending = "promoted" if result.promoted else "not promoted"
        text = f"{decision.text}; trained ({', '.join(aligned.ran) or 'everything was up to date'}); {result.text}"
        return Retrained(
            ending=ending, text=text, intake=intake, drift=drift, commit=self.commit, promotion=result.text
        )

    # ---- steps

    def _take_in(self, checkout: Checkout) -> tuple[dict[str, Content], IntakeReport]:
        """Look for new images; commit version n+1 where there are any. The table of origins, and intake's report."""
        root, project = checkout.root, Project(checkout.root)
        store = Store(store_url(project, self.options))
        inputs = [entry for path in (ORIGINS, DATASET[1]) if (entry := tracked(root, path))]
        if (root / STATE).is_file():
            state = store.keep(root / STATE)
            inputs.append(as_input(STATE, state))
        chosen = self.scope.model_dump(mode="json", exclude={"train"})
        values = yaml.safe_load(shareable_params(root))
        values["intake"] = values.get("intake", {}) | {name: value for name, value in chosen.items() if value}
        # The run's id makes another task of another run: what lies in S3 is no input that a digest could know.
        params = f"{yaml.safe_dump(values)}# looked at by run {runtime.flow_run.id or os.getpid()}\n"
        outputs = [INTAKE_REPORT] if self.scope.dry_run else [INTAKE_REPORT, STATE, INCOMING, ORIGINS]
        made = self._run(checkout, project, store, "intake", params, inputs, outputs)
        report = _fetched(store, made, IntakeReport)
        self.failpoint("looked")
        if self.scope.dry_run:
            return {}, report
        new = {path.removeprefix(f"{INCOMING}/"): c for path, c in made.items() if path.startswith(f"{INCOMING}/")}
        store.fetch(made[STATE], root / STATE)
        written = [STATE]
        if new:
            written += track_folder(root, INCOMING, store, new, grows=True)
            written += track_file(root, ORIGINS, made[ORIGINS])
            written += add_dependency(root, INCOMING, ("prepare",))
            sources = [path.as_posix() for path in project.settings.prepare.align_lr_sources]
            if INCOMING not in sources:
                written += set_param(root, "prepare", "align_lr_sources", [*sources, INCOMING])
        message = f"intake: {len(report.accepted)} new LR images\n\n{json.dumps(report.quarantined)} set aside\n"
        saved = self._save(checkout, written, message)
        self.commit = saved if new else None
        self.failpoint("version committed")
        origins = made.get(ORIGINS)
        return {ORIGINS: origins} if origins else {}, report

    def _compare(self, checkout: Checkout, found: dict[str, Content]) -> tuple[DriftReport | None, list[str]]:
        """Drift's report, and the shards that no training has seen; no report where there are none."""
        root, project = checkout.root, Project(checkout.root)
        store = Store(store_url(project, self.options))
        folder = tracked(root, INCOMING)
        listed = read_listing(store.read_object(folder.md5), f"the listing of {INCOMING}") if folder else {}
        trained = TrainedShards.read_if_there(root) or TrainedShards()
        pending = sorted(listed.keys() - set(trained.shards))
        if not pending:
            return None, []
        inputs = [entry for path in (INCOMING, *DATASET) if (entry := tracked(root, path)) is not None]
        origins = tracked(root, ORIGINS)
        if origins is None:
            raise BadInput(f"{ORIGINS}.dvc is missing on {self.branch}, {INCOMING}.dvc is there: restore it with git")
        inputs.append(origins)
        if (root / TRAINED).is_file():
            inputs.append(as_input(TRAINED, store.keep(root / TRAINED)))
        params = shareable_params(root)
        made = self._run(checkout, project, store, "drift", params, inputs, [DRIFT_REPORT, DRIFT_PAGE])
        report = _fetched(store, made, DriftReport)
        store.fetch(made[DRIFT_PAGE], root / DRIFT_PAGE)
        pages.show("drift", _drift_table(report), report.decision.text[:200])
        self.failpoint("compared")
        return report, pending

    def _base(self, checkout: Checkout, pending: list[str]) -> None:
        """Make the champion the base, once for each set of new shards: a run that goes on keeps the base it began
        with."""
        root, project = checkout.root, Project(checkout.root)
        store = Store(store_url(project, self.options))
        known = TrainedShards.read_if_there(root) or TrainedShards()
        if known.attempt is not None and known.attempt.shards == tuple(pending):
            self.log.info("goes on with base %s", known.attempt.champion or "of the settings")
            return
        params = f"{shareable_params(root)}# looked at by run {runtime.flow_run.id or os.getpid()}\n"
        outputs = [CHAMPION, CHAMPION_REPORT]
        made = self._run(checkout, project, store, "champion", params, project.frozen_models(), outputs)
        champion = _fetched(store, made, ChampionReport).champion
        attempt = TrainingAttempt(shards=tuple(pending), champion=champion)
        known.model_copy(update={"attempt": attempt}).write(root)
        written = [TRAINED]
        if champion:
            files = {
                path.removeprefix(f"{CHAMPION}/"): c for path, c in made.items() if path.startswith(f"{CHAMPION}/")
            }
            written += track_folder(root, CHAMPION, store, files)
            written += add_dependency(root, CHAMPION, USES_BASE)
            written += set_param(root, "backbone", "path", CHAMPION)
        self._save(checkout, written, f"retrain: from {champion or 'the base of the settings'}\n")
        self.failpoint("base committed")

    # ---- below

    def _run(
        self,
        checkout: Checkout,
        project: Project,
        store: Store,
        name: str,
        params: str,
        inputs: Sequence[Input],
        outputs: list[str],
    ) -> dict[str, Content]:
        """Run one component through the launcher; what it made."""
        task = Task(stage=name, store=store.url, params=params, inputs=list(inputs), outputs=outputs)
        store.write(task.key, task.model_dump(mode="json"))
        with launcher_of(self.options, checkout) as launcher:
            runner = runner_of(self.options, checkout, project, store, launcher)
            result: Result = runner.perform(task, task.invocation(), self.log)
        return result.contents()

    def _store_in_use(self, checkout: Checkout) -> AbstractContextManager[None]:
        """Nobody takes away what this run finds, until its commits name it."""
        return using(Store(store_url(Project(checkout.root), self.options)), f"retrain {this_run()}")

    def _check(self) -> None:
        if self.lease is not None:
            self.lease.check()

    def _save(self, checkout: Checkout, paths: Sequence[str], message: str) -> str | None:
        """Commit and push, if the lease is still ours."""
        self._check()
        return checkout.save(list(dict.fromkeys(paths)), message)


def _fetched(store: Store, made: dict[str, Content], kind: type[Report]) -> Report:
    """A document that a component made."""
    with tempfile.TemporaryDirectory() as folder:
        store.fetch(made[kind.path.as_posix()], Path(folder) / kind.path)
        return kind.read(Path(folder))


def _drift_table(report: DriftReport) -> str:
    rows = [f"| {row.name} | {row.verdict} | {row.reason} |" for row in report.comparisons]
    return "\n".join([f"**{report.decision.text}**", "", "| statistic | verdict | why |", "|---|---|---|", *rows])
