"""Commands of the gate as work: run where stages run, and tried again as stages are.

The gate restores and scores images, so it runs through a launcher; the flow sees its report and the registry.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from components.artifacts import paths
from components.in_use.store import using
from components.pipeline.files import shareable_params
from components.storage.store import Content
from components.task.child import halved, takes_settings
from components.task.document import Input, Task
from flows.attempts import Attempts
from flows.checkout import Checkout
from flows.launchers.base import Launcher, Work
from flows.reporter import Reporter
from flows.stages import Runner
from flows.tracking import track_folder, tracked

STAGE = "register"
"""Component whose commands the gate's are, and under whose name its processes run."""
BENCHMARK, REPORT = paths.BENCHMARKS.as_posix(), paths.GATE_REPORT.as_posix()
DATASET = (paths.DATASET.as_posix(), paths.DATASET_ROWS.as_posix())


class Judging(Protocol):
    """Runs commands of the gate to their answer."""

    def run(self, name: str, command: Sequence[str], gpus: int = 0) -> None:
        """Run `python -m components.register <command>`; a no of the gate is an answer as well.

        Args:
            name: of the work in this run, for people and for names of Jobs.
            gpus: it needs.

        Raises:
            WorkFailedError: there is no answer, in spite of the tries it takes.
        """


@dataclass
class JudgingInFolder:
    """In a project's own folder, as child processes.

    Attributes:
        root: the project.
        launcher: where they run.
        run_id: of the flow run.
        report: told of lines and failures.
        sleep: waits so many seconds.
    """

    root: Path
    launcher: Launcher
    run_id: str
    report: Reporter
    sleep: Callable[[float], None] = time.sleep

    def run(self, name: str, command: Sequence[str], gpus: int = 0) -> None:
        """See `Judging`."""
        attempts = Attempts(f"{STAGE} {name}", self.report, sleep=self.sleep)
        while True:
            line = (f"components.{STAGE}", *command, *self._halved(command, attempts.attempt.halvings))
            work = Work(self.run_id, STAGE, name, attempts.attempt.number, line, gpus)
            outcome = self.launcher.wait(self.launcher.submit(work), on_line=lambda line: self.report.info("%s", line))
            if outcome.has_answered:
                return
            attempts.failed(outcome)

    def _halved(self, command: Sequence[str], halvings: int) -> list[str]:
        if not takes_settings(command):
            return []
        params = (self.root / "params.yaml").read_text()
        return [flag for setting in halved(params, halvings) for flag in ("--set", setting)]


@dataclass
class JudgingInClone:
    """In a clone: what is read comes from the store, and what is left is brought back and recorded.

    Attributes:
        checkout: whose data and settings it is about.
        runner: of the checkout's project, as for its stages.
        report: told of states, lines and failures.
        written: files of the checkout that changed and belong into git.
    """

    checkout: Checkout
    runner: Runner
    report: Reporter
    written: list[str] = field(default_factory=list)

    def run(self, name: str, command: Sequence[str], gpus: int = 0) -> None:
        """See `Judging`; reports/gate.json and a benchmark set that was frozen are in the checkout then."""
        task = self._task(name, command)
        self.runner.store.write(task.key, task.model_dump(mode="json"))
        # While a person is waited for the store is not in use: what is judged is kept by its aliases.
        with using(self.runner.store, f"promote {self.runner.run}"):
            result = self.runner.perform(task, task.invocation(), self.report, name, gpus)
            self._bring(result.contents())

    def _task(self, name: str, command: Sequence[str]) -> Task:
        root, project = self.checkout.root, self.runner.project
        frozen = tracked(root, BENCHMARK)
        # a first set is frozen from the test split
        wanted = [BENCHMARK] if frozen else []
        wanted += DATASET
        inputs: list[Input] = [entry for path in wanted if (entry := tracked(root, path)) is not None]
        inputs += project.models()
        # The registry is no input that a digest could know: the work's own name makes another task of another run.
        params = f"{shareable_params(root)}# {self.runner.run} {name}\n"
        return Task(
            stage=STAGE,
            store=self.runner.store.url,
            params=params,
            inputs=inputs,
            outputs=[REPORT, BENCHMARK],
            arguments=list(command),
        )

    def _bring(self, made: dict[str, Content]) -> None:
        root, store = self.checkout.root, self.runner.store
        if REPORT in made:
            store.fetch(made[REPORT], root / REPORT)
            self.written.append(REPORT)
        inside = {Path(path).relative_to(BENCHMARK).as_posix(): content for path, content in made.items()
                  if path.startswith(f"{BENCHMARK}/")}  # fmt: skip
        if inside and tracked(root, BENCHMARK) is None:
            self.written += track_folder(root, BENCHMARK, store, inside)


def keep_first_set(judging: JudgingInClone, gpus: int) -> None:
    """Where there is no benchmark set yet: freeze one and commit it, before anything can be promoted on it.

    Whoever dies after a promotion must not take along what all later ones are to be judged on.

    Raises:
        WorkFailedError: it could not be frozen.
    """
    if tracked(judging.checkout.root, BENCHMARK) is None:
        judging.run("freeze", ["freeze"], gpus)
        judging.checkout.save(judging.written, "gate: the first benchmark set\n")
