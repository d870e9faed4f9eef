"""Commands of `components.register` as tasks: what the gate reads comes from the store, what it leaves is brought back.

The gate restores and scores images, so it runs where stages run; the flow sees its report.
"""

from dataclasses import dataclass, field
from pathlib import Path

from components.artifacts.store import Content, Store
from components.invocation import Invocation
from components.task.document import Input, Task, read_result
from flows.checkout import Checkout
from flows.launchers.base import Ended, Launcher, Work
from flows.project import Project
from flows.stages import Reporter
from flows.tracking import track_folder, tracked

BENCHMARK, REPORT = "data/benchmark", "reports/gate.json"
DATASET = ("data/dataset", "data/dataset.parquet")


@dataclass
class Judging:
    """Runs a piece of work of `components.register` in a clone through a launcher.

    Attributes:
        checkout: whose data and settings it is about.
        store: where they are.
        launcher: where it runs.
        environment: of its process.
        log: told of states and lines.
        written: files of the checkout that changed and belong into git.
    """

    checkout: Checkout
    store: Store
    launcher: Launcher
    environment: dict[str, str]
    log: Reporter
    written: list[str] = field(default_factory=list)

    def __call__(self, work: Work) -> Ended:
        """Run it to its end; reports/gate.json and a benchmark set that was frozen are in the checkout then."""
        task = self._task(work)
        self.store.write(task.key, task.model_dump(mode="json"))
        log = f"runs/{work.run}/logs/{work.stage}-{work.shard}-{work.attempt}.log"
        command = tuple(Invocation(task.stage, task=task.url, log=log).argv)
        handle = self.launcher.submit(
            Work(work.run, work.stage, work.shard, work.attempt, command, work.gpus, self.environment)
        )
        try:
            ended = self.launcher.wait(
                handle,
                lambda state: self.log.info("%s %s: %s", work.stage, work.shard, state),
                lambda line: self.log.info("%s", line),
            )
        finally:
            self.launcher.delete(handle)
        result = read_result(self.store, task, "run", None)
        if result is not None:
            self._bring(result.contents())
        return ended

    def _task(self, work: Work) -> Task:
        root, project = self.checkout.root, Project(self.checkout.root)
        frozen = tracked(root, BENCHMARK)
        # a first set is frozen from the test split
        wanted = [BENCHMARK] if frozen else []
        wanted += [*DATASET, project.settings.backbone.path.as_posix()]
        inputs: list[Input] = [entry for path in wanted if (entry := tracked(root, path)) is not None]
        # The registry is no input that a digest could know: the work's own name makes another task of another try.
        params = f"{(root / 'params.yaml').read_text()}# {work.run} {work.shard} {work.attempt}\n"
        return Task(
            stage=work.stage,
            store=self.store.url,
            params=params,
            inputs=inputs,
            outputs=[REPORT, BENCHMARK],
            arguments=list(work.command[1:]),
        )

    def _bring(self, made: dict[str, Content]) -> None:
        root = self.checkout.root
        if REPORT in made:
            self.store.fetch(made[REPORT], root / REPORT)
            self.written.append(REPORT)
        inside = {Path(path).relative_to(BENCHMARK).as_posix(): content for path, content in made.items()
                  if path.startswith(f"{BENCHMARK}/")}  # fmt: skip
        if inside and tracked(root, BENCHMARK) is None:
            self.written += track_folder(root, BENCHMARK, self.store, inside)
