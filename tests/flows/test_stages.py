"""Parts and their tries, with a launcher that is told how each process ends and makes up what it made."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.artifacts.shards import Shard
from components.errors import BadInput
from components.stages.invocation import Invocation
from components.storage.store import Content, Store
from components.task.document import Result, Task, read_result
from components.task.seal import KEY_VARIABLE
from flows import sums
from flows.launchers.base import Failure, Outcome, State, Work, WorkFailedError
from flows.project import Project
from flows.stages import Runner
from tests.flows.made import FOLDERS, make_project, outputs

LOG = logging.getLogger("test")
OK = Outcome(State.SUCCEEDED, exit_code=0)


class Scripted:
    """A launcher whose processes end as `script` says, by default well and with results in the store."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.script: dict[tuple[str, str], list[Outcome]] = {}
        self.works: list[Work] = []
        self.deleted: list[str] = []
        self.before: Callable[[Work], None] = lambda work: None

    def submit(self, work: Work) -> str:
        self.works.append(work)
        return str(len(self.works) - 1)

    def wait(
        self,
        handle: str,
        on_state: Callable[[State], None] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Outcome:
        work = self.works[int(handle)]
        self.before(work)
        ends = self.script.get((work.stage, work.shard), [])
        outcome = ends.pop(0) if ends else OK
        if outcome == OK:
            self._make(work)
        return outcome

    def logs(self, handle: str) -> Iterator[str]:
        return iter(())

    def delete(self, handle: str) -> None:
        self.deleted.append(handle)

    def sweep(self, run: str) -> None: ...

    def close(self) -> None: ...

    def _make(self, work: Work) -> None:
        invocation = Invocation.parse(work.stage, work.command[1:])
        assert invocation.task is not None
        document = self.store.read(invocation.task.partition("/dp2o/")[2])
        assert document is not None
        task = Task.model_validate(document)
        paths = self._paths(task, invocation.action, invocation.shard)
        made: dict[str, tuple[str, int, str]] = {}
        for path in paths:
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(f"{path} of {task.stage}\n")
            content = self.store.keep(target)
            made[path] = (content.md5, content.size, content.sha256)
        key = task.result_key(invocation)
        result = Result(outputs=made).sealed(work.secrets[KEY_VARIABLE], key)
        self.store.write(key, result.model_dump(mode="json"))

    def _paths(self, task: Task, action: str, shard: Shard | None) -> list[str]:
        """Files that a part makes."""
        if action == "publish":
            assert shard is not None
            paths = [f"data/{task.stage}.parts/{shard.name}.parquet"]
            return paths + ([f"data/candidates/{shard.name}.tar"] if task.stage == "generate" else [])
        if action == "gather":
            return [path for path in task.outputs if path not in FOLDERS]
        if shard is not None:
            return []
        return [file for out in task.outputs for file in
                ([f"{out}/{inner}" for inner in FOLDERS[out]] if out in FOLDERS else [out])]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path / 'store'}")


@pytest.fixture
def launcher(store: Store, tmp_path: Path) -> Scripted:
    return Scripted(store, tmp_path / "made")


@pytest.fixture
def runner(store: Store, launcher: Scripted, tmp_path: Path) -> Runner:
    return Runner(make_project(tmp_path / "project"), store, launcher, "run", sleep=lambda seconds: None)


def only_part(runner: Runner, tmp_path: Path) -> tuple[Task, Invocation]:
    """generate's, with prepare recorded."""
    project = runner.project
    project.record("prepare", outputs(project, "prepare", runner.store, tmp_path / "prepared"), runner.store)
    task = project.task("generate", runner.store.url)
    runner.store.write(task.key, task.model_dump(mode="json"))
    return task, task.invocation("publish", Shard(0, 1))


def test_every_stage_runs_once_and_is_recorded(runner: Runner, launcher: Scripted) -> None:
    ran = [name for name in runner.project.stages if runner.update(name)]
    assert ran == runner.project.stages
    assert not any(runner.project.stale(name) for name in ran)
    count = Counter((work.stage, work.shard) for work in launcher.works)
    assert count[("generate", "gather")] == count[("generate", "00000-of-00001")] == 1
    assert set(count.values()) == {1}
    assert len(launcher.deleted) == len(launcher.works)
    assert not any(runner.update(name) for name in ran)


def test_a_flow_that_starts_again_takes_what_was_made(runner: Runner, launcher: Scripted, tmp_path: Path) -> None:
    for name in ("prepare", "generate"):
        runner.update(name)
    before = len(launcher.works)
    (runner.project.root / "dvc.lock").unlink()  # the clone of the flow that died is gone
    again = Runner(
        Project(runner.project.root), runner.store, launcher, "run", key=runner.key, sleep=lambda seconds: None
    )
    for name in ("prepare", "generate"):
        assert again.update(name)
    assert len(launcher.works) == before


def test_evaluate_in_parts_fills_the_cache_first(runner: Runner, launcher: Scripted) -> None:
    runner.shards = {"evaluate": 3, "score": 2}
    for name in runner.project.stages:
        runner.update(name)
    shards = [work.shard for work in launcher.works if work.stage == "evaluate"]
    assert shards == ["00000-of-00003", "00001-of-00003", "00002-of-00003", "whole"]
    assert [work.shard for work in launcher.works if work.stage == "score"] == [
        "00000-of-00002", "00001-of-00002", "gather",
    ]  # fmt: skip


def test_gpus_are_for_those_who_compute(runner: Runner, launcher: Scripted) -> None:
    runner.gpus = {"generate": 1, "train": 8}
    runner.train_nodes = 2
    for name in runner.project.stages:
        runner.update(name)
    gpus = {(work.stage, work.shard): work.gpus for work in launcher.works}
    assert {work.stage: work.nodes for work in launcher.works if work.nodes > 1} == {"train": 2}
    assert gpus[("generate", "00000-of-00001")] == 1
    assert gpus[("generate", "gather")] == gpus[("pair", "whole")] == 0
    (train,) = [work for work in launcher.works if work.stage == "train"]
    assert train.gpus == 8
    assert train.command[train.command.index("--processes") + 1] == "8"


def failed(failure: Failure) -> Outcome:
    return Outcome(State.FAILED, failure, "told so")


def test_tries_have_names_of_their_own(runner: Runner, launcher: Scripted, tmp_path: Path) -> None:
    task, part = only_part(runner, tmp_path)
    launcher.script[("generate", "00000-of-00001")] = [
        failed(Failure.EVICTED), failed(Failure.OUT_OF_MEMORY), failed(Failure.RESUME_LATER),
    ]  # fmt: skip
    runner.perform(task, part, LOG)
    assert [work.attempt for work in launcher.works] == [0, 1, 2, 3]
    halved = ["--halvings" in work.command for work in launcher.works]
    assert halved == [False, False, True, True]
    assert len({work.command[work.command.index("--log") + 1] for work in launcher.works}) == 4


def test_what_cannot_get_better_ends_with_its_name(runner: Runner, launcher: Scripted, tmp_path: Path) -> None:
    task, part = only_part(runner, tmp_path)
    launcher.script[("generate", "00000-of-00001")] = [failed(Failure.BAD_INPUT)]
    with pytest.raises(WorkFailedError, match=r"generate 00000-of-00001: BadInput.*told so\n.*trying again"):
        runner.perform(task, part, LOG)
    assert len(launcher.works) == len(launcher.deleted) == 1


def test_a_good_end_without_a_result_is_no_success(runner: Runner, launcher: Scripted, tmp_path: Path) -> None:
    task, part = only_part(runner, tmp_path)
    launcher.script[("generate", "00000-of-00001")] = [Outcome(State.SUCCEEDED)] * 11
    with pytest.raises(WorkFailedError, match="its result is not in the store"):
        runner.perform(task, part, LOG)


def test_a_damaged_shard_is_made_again_by_its_stage(runner: Runner, launcher: Scripted) -> None:
    for name in ("prepare", "generate"):
        runner.update(name)
    task = runner.project.task("generate", runner.store.url)
    known = read_result(runner.store, task, task.invocation("publish", Shard(0, 1)))
    assert known is not None
    md5, size, _ = known.outputs["data/candidates/00000-of-00001.tar"]
    lock = (runner.project.root / "dvc.lock").read_text()

    def lose(work: Work) -> None:
        if work.stage == "score" and len([one for one in launcher.works if one.stage == "score"]) == 1:
            Path(runner.store.object_path(md5)).unlink()

    launcher.before = lose
    launcher.script[("score", "00000-of-00001")] = [failed(Failure.CORRUPT_INPUT)]
    runner.update("score")
    assert runner.store.has(Content(md5, size))
    made = [(work.stage, work.shard) for work in launcher.works]
    assert made.count(("generate", "00000-of-00001")) == 2
    assert made.count(("generate", "gather")) == 1  # its result is whole
    assert made.count(("score", "00000-of-00001")) == 2
    after = (runner.project.root / "dvc.lock").read_text()
    assert after.startswith(lock.partition("  score")[0].rstrip())


def test_what_no_stage_made_cannot_be_made_again(runner: Runner, launcher: Scripted, tmp_path: Path) -> None:
    task, part = only_part(runner, tmp_path)
    foreign = task.inputs[-1].model_copy(update={"path": "photos/x", "md5": "0" * 32, "origin": "store"})
    task = task.model_copy(update={"inputs": [foreign]})
    launcher.script[("generate", "00000-of-00001")] = [failed(Failure.CORRUPT_INPUT)]
    with pytest.raises(BadInput, match="no stage makes it"):
        runner.perform(task, part, LOG)


def test_a_forged_result_does_not_become_an_output(runner: Runner, launcher: Scripted, tmp_path: Path) -> None:
    for name in ("prepare", "generate", "score", "pair"):
        runner.update(name)
    task = runner.project.task("train", runner.store.url)
    (tmp_path / "evil").write_text("evil weights")
    evil = runner.store.keep(tmp_path / "evil")
    outputs = {f"models/aligned/{name}": (evil.md5, evil.size, evil.sha256) for name in ("best/config.json", "last/x")}
    key = task.result_key(task.invocation())
    for seal in ("", "0" * 64):
        runner.store.write(key, Result(outputs=outputs, seal=seal).model_dump(mode="json"))
        before = len(launcher.works)
        part = task.invocation()
        runner.store.write(task.key, task.model_dump(mode="json"))
        result = runner.perform(task, part, LOG)
        assert len(launcher.works) == before + 1
        assert evil.md5 not in {md5 for md5, *_ in result.outputs.values()}


def test_what_is_recorded_has_its_sha256_in_git_and_in_the_next_task(runner: Runner, tmp_path: Path) -> None:
    runner.update("prepare")
    assert "dvc.sha256.json" in runner.project.written()
    given = {entry.path: entry for entry in runner.project.task("generate", runner.store.url).inputs}
    folder = given["data/dataset"]
    assert set(folder.sha256) == {"00000.tar"}
    assert len(given["data/dataset.parquet"].sha256[""]) == 64
    written = json.loads((runner.project.root / "dvc.sha256.json").read_text())
    assert written["data/dataset"] == {"md5": folder.md5, "sha256": folder.sha256}
    # what another recorded since, as `dvc repro` does, is not known by it
    assert sums.known(runner.project.root, "data/dataset", "0" * 32 + ".dir") == {}
    (runner.project.root / "dvc.sha256.json").write_text("[]")
    with pytest.raises(BadInput, match=r"dvc.sha256.json is damaged .*restore it with git"):
        runner.project.task("generate", runner.store.url)
