"""The gate's work and its tries: what fails as a stage may fail is tried again as a stage is."""

import logging
from pathlib import Path

import pytest
import yaml

from components.errors import BadInput
from components.pipeline.files import set_param
from components.promote.notify import OF_THE_FLOW, VARIABLE
from components.stages.invocation import Invocation
from components.storage.store import Store
from components.task.child import command
from components.task.document import Task, read_task
from components.task.seal import KEY_VARIABLE
from flows.checkout import Checkout
from flows.judging import BENCHMARK, REPORT, JudgingInClone, JudgingInFolder, keep_first_set
from flows.launchers.base import Failure, Outcome, State, Work, WorkFailedError
from flows.options import secrets_of
from flows.project import Project
from flows.stages import Runner, in_turn
from flows.tracking import track_folder, tracked
from tests.flows.made import make_project, outputs
from tests.flows.test_stages import Scripted, failed

LOG = logging.getLogger("test")
REFUSED = Outcome(State.FAILED, Failure.REFUSED, exit_code=3)
SET = f"{BENCHMARK}/v1-0123456789ab/manifest.json"
PROMOTE = ["promote", "sr-dev/2", "--policy", "manual"]


class GateLauncher(Scripted):
    """One whose gate leaves a report and a benchmark set, with a yes or a no."""

    def wait(self, handle: str, *arguments: object, **named: object) -> Outcome:  # type: ignore[override]
        outcome = super().wait(handle)
        if outcome == REFUSED:
            self._make(self.works[int(handle)])
        return outcome

    def _paths(self, task: Task, action: str, shard: object) -> list[str]:
        return [REPORT, SET] if task.arguments else super()._paths(task, action, shard)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path / 'store'}")


@pytest.fixture
def launcher(store: Store, tmp_path: Path) -> GateLauncher:
    return GateLauncher(store, tmp_path / "made")


@pytest.fixture
def judging(store: Store, launcher: GateLauncher, tmp_path: Path) -> JudgingInClone:
    """A clone in which prepare is recorded."""
    project = make_project(tmp_path / "project")
    project.record("prepare", outputs(project, "prepare", store, tmp_path / "prepared"), store)
    runner = Runner(project, store, launcher, "run", gpus={"prepare": 3}, sleep=lambda seconds: None)
    return JudgingInClone(Checkout(project.root, None, "."), runner, LOG)


def works(launcher: Scripted) -> list[tuple[str, str, int]]:
    return [(work.stage, work.shard, work.attempt) for work in launcher.works]


def test_the_gate_alone_is_given_what_only_it_needs(judging: JudgingInClone, launcher: GateLauncher) -> None:
    """A stage's pod decodes pictures of strangers, and tells people nothing."""
    judging.runner.secrets[OF_THE_FLOW] = "https://hooks.example.com/secret"
    judging.run("gate-0", PROMOTE)
    judging.runner.make("generate", in_turn)
    given = {work.shard: set(work.secrets) for work in launcher.works}
    assert given.pop("gate-0") == {OF_THE_FLOW, KEY_VARIABLE}
    assert len(given) > 1
    assert all(names == {KEY_VARIABLE} for names in given.values())


def test_a_flow_s_webhook_does_not_stand_in_the_way_of_the_gate_s_own(
    judging: JudgingInClone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Job's variables go before those of its Secrets, so that the gate's own has another name."""
    root = judging.checkout.root
    set_param(root, "register", "webhook", "https://hooks.example.com/of-settings")
    monkeypatch.delenv(VARIABLE, raising=False)
    assert secrets_of(Project(root)) == {OF_THE_FLOW: "https://hooks.example.com/of-settings"}
    monkeypatch.setenv(VARIABLE, "https://hooks.example.com/of-the-flow")
    assert secrets_of(Project(root)) == {OF_THE_FLOW: "https://hooks.example.com/of-the-flow"}


def test_the_gate_gets_all_models_that_settings_name(judging: JudgingInClone, launcher: GateLauncher) -> None:
    """A ControlNet's frozen base is none of the version's own files, and neither is a captioner."""
    root, project, store = judging.checkout.root, judging.runner.project, judging.runner.store
    content = store.keep(root / "dvc.yaml")
    for path in ("models/sd2", "models/control", "models/captioner"):
        track_folder(root, path, store, {"config.json": content})
    names = {"family": "sd2_controlnet", "path": "models/control", "base": "models/sd2"}
    settings = project.settings.model_dump(mode="json", by_alias=True)
    settings["backbone"] = names | {"steps": 2, "guidance_scale": 2.0, "colour_fix": "none"}
    settings["prepare"]["prompt"] = {"kind": "captioner", "model": "models/captioner"}
    (root / "params.yaml").write_text(yaml.safe_dump(settings))
    judging.runner.project = Project(root)
    judging.run("gate-0", PROMOTE)
    task, _ = read_task("register", str(Invocation.parse("register", launcher.works[0].command[1:]).task))
    given = {entry.path for entry in task.inputs if entry.origin == "store"}
    assert given >= {"models/sd2", "models/control", "models/captioner"}
    assert [entry.path for entry in Project(root).frozen_models()] == ["models/sd2"]  # what a champion is loaded with
    prepared = {entry.path for entry in Project(root).task("prepare", store.url).inputs}
    assert "models/captioner" in prepared
    assert "models/sd2" not in prepared


def test_too_little_memory_is_met_with_half_the_batches(judging: JudgingInClone, launcher: GateLauncher) -> None:
    launcher.script["register", "gate-0"] = [failed(Failure.OUT_OF_MEMORY)]
    judging.run("gate-0", PROMOTE, gpus=1)
    assert works(launcher) == [("register", "gate-0", 0), ("register", "gate-0", 1)]
    assert [work.gpus for work in launcher.works] == [1, 1]
    first, second = (Invocation.parse("register", work.command[1:]) for work in launcher.works)
    assert (first.halvings, second.halvings) == (0, 1)
    launcher.script["register", "gate-1"] = [failed(Failure.OUT_OF_MEMORY)] * 2
    with pytest.raises(WorkFailedError, match="register gate-1: OutOfMemory"):
        judging.run("gate-1", PROMOTE)


def test_the_command_itself_is_told_of_smaller_batches(judging: JudgingInClone) -> None:
    """`promote` restores and scores; `reject` only writes, and takes no settings."""
    invocation = Invocation("register", task="file:///store/dp2o/t.json", halvings=1, settings=("run.threads=1",))
    params = (judging.checkout.root / "params.yaml").read_text()
    settings = judging.runner.project.settings
    line = command(invocation, params, "file:///store", PROMOTE)
    chosen = dict(line[place + 1].split("=") for place, word in enumerate(line) if word == "--set")
    assert line[3 : 4 + len(PROMOTE)] == ["components.register", *PROMOTE]
    assert chosen["generate.batch"] == str(max(1, settings.generate.batch // 2))
    assert chosen["score.batch"] == str(max(1, settings.score.batch // 2))
    assert chosen["run.threads"] == "1"
    assert chosen["run.shared_cache"] == "file:///store"
    assert "--set" not in command(invocation, params, "file:///store", ["reject", "sr-dev/2", "--by=ada"])


@pytest.mark.parametrize("failure", [Failure.LOST, Failure.EVICTED, Failure.RESUME_LATER, Failure.CRASHED])
def test_a_pod_that_is_lost_is_started_again(judging: JudgingInClone, launcher: GateLauncher, failure: Failure) -> None:
    launcher.script["register", "gate-0"] = [failed(failure)]
    judging.run("gate-0", PROMOTE)
    assert works(launcher) == [("register", "gate-0", 0), ("register", "gate-0", 1)]
    assert not any("--halvings" in work.command for work in launcher.works)
    assert len(launcher.deleted) == 2
    assert judging.written[0] == REPORT


def test_damaged_inputs_are_made_again_by_their_stage(judging: JudgingInClone, launcher: GateLauncher) -> None:
    dataset = tracked(judging.checkout.root, "data/dataset.parquet")
    assert dataset is not None

    def lose(work: Work) -> None:
        if (work.stage, work.attempt) == ("register", 0):
            Path(judging.runner.store.object_path(dataset.md5)).unlink()

    launcher.before = lose
    launcher.script["register", "gate-0"] = [failed(Failure.CORRUPT_INPUT)]
    judging.run("gate-0", PROMOTE)
    assert works(launcher) == [("register", "gate-0", 0), ("prepare", "whole", 0), ("register", "gate-0", 1)]
    assert launcher.works[1].gpus == 3  # stages keep the run's own


def test_a_damaged_benchmark_set_is_nobodys_to_make_again(
    judging: JudgingInClone, launcher: GateLauncher, tmp_path: Path
) -> None:
    (tmp_path / "manifest.json").write_text("frozen")
    content = judging.runner.store.keep(tmp_path / "manifest.json")
    track_folder(judging.checkout.root, BENCHMARK, judging.runner.store, {"v1-0123456789ab/manifest.json": content})
    launcher.before = lambda work: Path(judging.runner.store.object_path(content.md5)).unlink(missing_ok=True)
    launcher.script["register", "gate-0"] = [failed(Failure.CORRUPT_INPUT)]
    with pytest.raises(BadInput, match=r"data/benchmark is damaged .* no stage makes it: `dvc push` it"):
        judging.run("gate-0", PROMOTE)


def test_a_no_is_an_answer_and_its_report_is_kept(judging: JudgingInClone, launcher: GateLauncher) -> None:
    launcher.script["register", "gate-0"] = [REFUSED]
    judging.run("gate-0", PROMOTE)
    assert works(launcher) == [("register", "gate-0", 0)]
    assert (judging.checkout.root / REPORT).is_file()
    (judging.checkout.root / f"{BENCHMARK}.dvc").unlink()  # the clone of a flow that died is gone
    judging.run("gate-0", PROMOTE)  # and the next finds the answer in the store
    assert len(launcher.works) == 1
    launcher.script["register", "gate-1"] = [failed(Failure.BAD_INPUT)]
    with pytest.raises(WorkFailedError, match="register gate-1: BadInput"):
        judging.run("gate-1", PROMOTE)


def test_the_first_set_is_frozen_once(judging: JudgingInClone, launcher: GateLauncher) -> None:
    launcher.script["register", "freeze"] = [failed(Failure.EVICTED)]
    keep_first_set(judging, gpus=0)
    assert tracked(judging.checkout.root, BENCHMARK) is not None
    keep_first_set(judging, gpus=0)
    assert works(launcher) == [("register", "freeze", 0), ("register", "freeze", 1)]


class FolderLauncher(Scripted):
    """One that makes nothing: in a folder the work itself leaves its files."""

    def _make(self, work: Work) -> None: ...


def test_in_a_folder_it_is_tried_in_the_same_way(store: Store, tmp_path: Path) -> None:
    launcher = FolderLauncher(store, tmp_path / "made")
    root = make_project(tmp_path / "project").root
    slept: list[float] = []
    judging = JudgingInFolder(root, launcher, "run", LOG, sleep=slept.append)
    launcher.script["register", "gate-0"] = [
        failed(Failure.LOST), failed(Failure.OUT_OF_MEMORY), failed(Failure.RESUME_LATER), REFUSED,
    ]  # fmt: skip
    judging.run("gate-0", PROMOTE, gpus=1)
    assert [work.attempt for work in launcher.works] == [0, 1, 2, 3]
    plain = ("components.register", *PROMOTE)
    assert [work.command[: len(plain)] for work in launcher.works] == [plain] * 4
    assert [any("score.batch=" in word for word in work.command) for work in launcher.works] == [
        False,
        False,
        True,
        True,
    ]
    assert slept == [2.0, 0.0, 2.0]
    launcher.script["register", "reject-0"] = [failed(Failure.CRASHED)] * 2
    with pytest.raises(WorkFailedError, match="register reject-0: Crashed"):
        judging.run("reject-0", ["reject", "sr-dev/2", "--by=ada"])
