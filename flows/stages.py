"""One stage of a project as tasks: parts in parallel, then what joins them, then the record in dvc.lock."""

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from components.artifacts.shards import Shard
from components.artifacts.store import Content, Store
from components.errors import BadInput, CorruptInput
from components.invocation import Invocation
from components.stages import IN_PARTS, Action
from components.task.document import Input, Result, Task, read_result
from flows.attempts import Attempt, Tries
from flows.launchers.base import Ended, Failure, Launcher, State, Work
from flows.project import NO_COMMIT, Commit, Project
from flows.reporter import Reporter

CACHED_IN_PARTS = ("evaluate",)
"""Stages whose parts only fill the shared cache; one process then publishes all."""
TRAINING = "train"
PARTS = ".parts/"
"""In the path of rows that a stage's own parts published."""


@dataclass(frozen=True)
class Part:
    """One process of a stage, or one that runs a command of its component.

    Attributes:
        stage: whose.
        task: all that determines what it makes.
        action, shard: which part of the stage.
        name: of a command, for people and for names of Jobs; empty for a stage, whose parts have names.
        gpus: of a command; a stage's are the runner's.
    """

    stage: str
    task: Task
    action: Action
    shard: Shard | None = None
    name: str = ""
    gpus: int = 0

    @property
    def label(self) -> str:
        """For people and for names of Jobs: `00001-of-00004`, `gather`, `whole`, or the command's name."""
        return self.name or (self.shard.name if self.shard else "whole" if self.action == "run" else self.action)


Mapped = Callable[[Sequence[Part], Callable[[Part, Reporter], Result]], list[Result]]
"""Calls the function for every part, in parallel if it can; results in the order of the parts."""


def in_turn(parts: Sequence[Part], perform: Callable[[Part, Reporter], Result]) -> list[Result]:
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
            parts = [Part(name, task, "publish", Shard(index, count)) for index in range(count)]
            for result in mapped(parts, self.perform):
                files |= result.contents()
            joined = self._with_parts(task, files)
            self.store.write(joined.key, joined.model_dump(mode="json"))
            (whole,) = mapped([Part(name, joined, "gather")], self.perform)
        else:
            if name in CACHED_IN_PARTS and count > 1:
                mapped([Part(name, task, "run", Shard(index, count)) for index in range(count)], self.perform)
            (whole,) = mapped([Part(name, task, "run")], self.perform)
        self.project.record(name, files | whole.contents(), self.store)

    def perform(self, part: Part, report: Reporter) -> Result:
        """One part, with the tries it takes; what the store has already is not made again.

        Raises:
            BadInput: an input is damaged, and was made by no stage.
            WorkFailedError: it failed for good.
        """
        tries = Tries(f"{part.stage} {part.label}", report, self.crash_retries, self.sleep)
        repairs = 0
        while True:
            result = read_result(self.store, part.task, part.action, part.shard)
            if result is not None:
                return result
            ended = self._once(part, tries.attempt, report)
            if ended.has_answered:
                result = read_result(self.store, part.task, part.action, part.shard)
                if result is not None:
                    return result
                ended = Ended(State.FAILED, Failure.LOST, "it ended well, but its result is not in the store")
            if ended.failure is Failure.CORRUPT_INPUT and repairs <= len(part.task.inputs):
                repairs += 1
                tries.uncounted(ended)
                self._repair(part, report)
            else:
                tries.failed(ended)

    def _once(self, part: Part, attempt: Attempt, report: Reporter) -> Ended:
        gpus = part.gpus if part.name else self.gpus.get(part.stage, 0) if part.action != "gather" else 0
        invocation = Invocation(
            part.task.stage,
            shard=part.shard,
            action=part.action,
            settings=tuple(self.settings),
            task=part.task.url,
            halvings=attempt.halvings,
            processes=gpus if part.stage == TRAINING and gpus > 1 else 1,
            log=f"runs/{self.run}/logs/{part.stage}-{part.label}-{attempt.number}.log",
        )
        nodes = self.train_nodes if part.stage == TRAINING else 1
        work = Work(
            self.run, part.stage, part.label, attempt.number, tuple(invocation.argv), gpus, self.environment, nodes
        )
        handle = self.launcher.submit(work)
        try:
            return self.launcher.wait(
                handle,
                lambda state: report.info("%s %s: %s", part.stage, part.label, state),
                lambda line: report.info("%s", line),
            )
        finally:
            self.launcher.delete(handle)

    def _repair(self, part: Part, report: Reporter) -> None:
        """Make again what this part's inputs lack: the parts of earlier stages whose results are not whole.

        Raises:
            BadInput: what is missing was made by no stage.
        """
        with self._repairing:  # of parts that miss the same object, one makes it
            for entry in part.task.inputs:
                if entry.origin != "store" or self._whole(entry):
                    continue
                producer = part.stage if PARTS in entry.path else self.project.producer(entry.path)
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
            files = self.store.read_object(entry.md5)
        except CorruptInput:
            return False
        return all(self.store.exists(md5) for md5 in _listed(files))

    def _count(self, name: str) -> int:
        """Parts of a stage. One of generate is a tar of data/candidates, so `generate.shards` alone says how many."""
        shards = self.project.settings.generate.shards
        return shards if name == "generate" else self.shards.get(name, shards)

    @staticmethod
    def _with_parts(task: Task, files: dict[str, Content]) -> Task:
        """The task of joining parts: its inputs, and the parts' rows."""
        rows = {path: content for path, content in files.items() if path.endswith(".parquet")}
        added = [Input(path=path, md5=rows[path].md5, size=rows[path].size, origin="store") for path in sorted(rows)]
        return task.model_copy(update={"inputs": [*task.inputs, *added]})


def _listed(listing: bytes) -> list[str]:
    """md5 of every file in DVC's listing of a folder."""
    return [str(row["md5"]) for row in json.loads(listing)]
