"""One stage of a project as tasks: parts in parallel, then what joins them, then the record in dvc.lock."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from secrets import token_bytes

from components.artifacts.shards import Shard
from components.errors import BadInput, CorruptInput
from components.stages import IN_PARTS
from components.stages.invocation import Invocation
from components.storage.dvc_hash import read_listing
from components.storage.store import Content, Store
from components.task import seal
from components.task.document import Input, Result, Task, as_input, read_result
from flows.attempts import Attempt, Attempts
from flows.launchers.base import Failure, Launcher, Outcome, State, Work
from flows.project import NO_COMMIT, Commit, Project
from flows.reporter import Reporter

CACHED_IN_PARTS = ("evaluate",)
"""Stages whose parts only fill the shared cache; one process then publishes all."""
TRAINING = "train"
PARTS = ".parts/"
"""In the path of rows that a stage's own parts published."""


Perform = Callable[[Invocation, Reporter], Result]
Mapped = Callable[[Sequence[Invocation], Perform], list[Result]]
"""Calls the function for every part of a stage, in parallel if it can; results in the order of the parts."""


def in_turn(parts: Sequence[Invocation], perform: Perform) -> list[Result]:
    """The simplest `Mapped`: one after the other."""
    return [perform(part, logging.getLogger("dp2o.flows")) for part in parts]


@dataclass
class Runner:
    """Brings stages of a project up to date.

    Attributes:
        project: what is recorded where.
        store: inputs and outputs.
        launcher: where processes run.
        run: id of the run, for names and labels.
        mapped: how parts are mapped.
        shards: parts of stages that come in parts by setting; generate's and score's are `generate.shards` by default.
        gpus: by stage.
        settings: `block.key=value` for every process, see components.settings.WHERE_AND_HOW.
        environment: of every process.
        commit: of the code.
        crash_retries: how often a part that crashed is tried again.
        train_nodes: machines that train together, each with the stage's GPUs.
        key: of this run: whose results count.
        secrets: given to the gate's work beside its own key: no stage tells people anything.
    """

    project: Project
    store: Store
    launcher: Launcher
    run: str
    mapped: Mapped = in_turn
    shards: dict[str, int] = field(default_factory=dict)
    gpus: dict[str, int] = field(default_factory=dict)
    settings: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)
    commit: Commit = NO_COMMIT
    crash_retries: int = 1
    train_nodes: int = 1
    key: bytes = field(default_factory=lambda: token_bytes(32), repr=False)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    sleep: Callable[[float], None] = time.sleep
    _repairing: threading.RLock = field(default_factory=threading.RLock)

    def update(self, name: str) -> str:
        """Run a stage if it is out of date, and record it; why it ran, empty where it did not.

        Raises:
            WorkFailedError: a part failed for good.
        """
        reason = self.project.stale(name)
        if reason:
            self.make(name, self.mapped)
        return reason

    def make(self, name: str, mapped: Mapped) -> None:
        """Run a stage and record it. Parts whose results are in the store are not run again."""
        task = self.project.task(name, self.store.url, self.commit)
        self.store.write(task.key, task.model_dump(mode="json"))
        count = self._count(name)
        files: dict[str, Content] = {}
        if name in IN_PARTS:
            parts = [task.invocation("publish", Shard(index, count)) for index in range(count)]
            for result in mapped(parts, partial(self.perform, task)):
                files |= result.contents()
            joined = self._with_parts(task, files)
            self.store.write(joined.key, joined.model_dump(mode="json"))
            (whole,) = mapped([joined.invocation("gather")], partial(self.perform, joined))
        else:
            if name in CACHED_IN_PARTS and count > 1:
                parts = [task.invocation("run", Shard(index, count)) for index in range(count)]
                mapped(parts, partial(self.perform, task))
            (whole,) = mapped([task.invocation()], partial(self.perform, task))
        self.project.record(name, files | whole.contents(), self.store)

    def perform(
        self, task: Task, part: Invocation, report: Reporter, name: str = "", gpus: int | None = None
    ) -> Result:
        """One part of a task, with the attempts it takes; what the store has already is not made again.

        Args:
            name: of a command, for people and for names of Jobs; a stage's parts have names of their own.
            gpus: of a command; a stage's are the runner's.

        Raises:
            BadInput: an input is damaged, and was made by no stage.
            WorkFailedError: it failed for good.
        """
        attempts = Attempts(f"{part.stage} {name or part.label}", report, self.crash_retries, self.sleep)
        repairs = 0
        own = seal.part_key(self.key, task.result_key(part))
        while True:
            result = read_result(self.store, task, part, own)
            if result is not None:
                return result
            outcome = self._once(part, own, attempts.attempt, report, name or part.label, gpus)
            if outcome.has_answered:
                result = read_result(self.store, task, part, own)
                if result is not None:
                    return result
                outcome = Outcome(State.FAILED, Failure.LOST, "it ended well, but its result is not in the store")
            if outcome.failure is Failure.CORRUPT_INPUT and repairs <= len(task.inputs):
                repairs += 1
                attempts.uncounted(outcome)
                self._repair(task, report)
            else:
                attempts.failed(outcome)

    def _once(
        self, part: Invocation, own: str, attempt: Attempt, report: Reporter, label: str, gpus: int | None
    ) -> Outcome:
        if gpus is None:
            gpus = self.gpus.get(part.stage, 0) if part.action != "gather" else 0
        invocation = replace(
            part,
            settings=tuple(self.settings),
            halvings=attempt.halvings,
            processes=gpus if part.stage == TRAINING and gpus > 1 else 1,
            log=f"runs/{self.run}/logs/{part.stage}-{label}-{attempt.number}.log",
        )
        nodes = self.train_nodes if part.stage == TRAINING else 1
        promotes = label != part.label  # the gate's commands alone have names of their own
        secrets = (self.secrets if promotes else {}) | {seal.KEY_VARIABLE: own}
        arguments = tuple(invocation.argv)
        work = Work(
            self.run, part.stage, label, attempt.number, arguments, gpus, self.environment, nodes, secrets, promotes
        )
        handle = self.launcher.submit(work)
        try:
            return self.launcher.wait(
                handle,
                lambda state: report.info("%s %s: %s", part.stage, label, state),
                lambda line: report.info("%s", line),
            )
        finally:
            self.launcher.delete(handle)

    def _repair(self, task: Task, report: Reporter) -> None:
        """Make again what the task's inputs lack: the parts of earlier stages whose results are not whole.

        Raises:
            BadInput: what is missing was made by no stage.
        """
        with self._repairing:  # of parts that miss the same object, one makes it
            for entry in task.inputs:
                if entry.origin != "store" or self._whole(entry):
                    continue
                producer = task.stage if PARTS in entry.path else self.project.producer(entry.path)
                if producer is None:
                    raise BadInput(
                        f"{entry.path} is damaged in {self.store.url}, and no stage makes it: `dvc push` it from a "
                        "machine that has it"
                    )
                report.warning("%s is damaged in the store: %s makes it again", entry.path, producer)
                self.make(producer, in_turn)

    def _whole(self, entry: Input) -> bool:
        """Whether all objects of an input are in the store."""
        if not entry.md5.endswith(".dir"):
            return self.store.has(Content(entry.md5, entry.size))
        try:
            files = read_listing(self.store.read_object(entry.md5), f"the listing of {entry.path}")
        except CorruptInput:
            return False
        return all(self.store.exists(md5) for md5 in files.values())

    def _count(self, name: str) -> int:
        """Parts of a stage. One of generate is a tar of data/candidates, so `generate.shards` alone says how many."""
        shards = self.project.settings.generate.shards
        return shards if name == "generate" else self.shards.get(name, shards)

    @staticmethod
    def _with_parts(task: Task, files: dict[str, Content]) -> Task:
        """The task of joining parts: its inputs, and the parts' rows."""
        rows = {path: content for path, content in files.items() if path.endswith(".parquet")}
        added = [as_input(path, rows[path]) for path in sorted(rows)]
        return task.model_copy(update={"inputs": [*task.inputs, *added]})
