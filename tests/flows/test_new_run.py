"""The second path after a crash: a new run, in a new clone, finds what the one before it finished and makes no part of
it twice. (The first, the same run that adopts its Jobs: tests/flows/launchers, tests/cluster/test_align.py.)"""

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.errors import BadInput
from components.storage.store import Store
from flows.launchers.base import Work
from flows.project import Project
from flows.run_key import VARIABLE, run_key
from flows.stages import Runner
from tests.flows.made import make_project, run
from tests.flows.test_stages import Scripted

PARTS = 3


class PodGone(BaseException):
    """The flow's own pod is killed: no code of the flow runs after it."""


@dataclass
class Cluster:
    """What outlives a flow's pod: the store, and the git repository that it clones."""

    store: Store
    launcher: Scripted
    repository: Path
    folder: Path

    def runner(self, name: str, key: bytes) -> Runner:
        """A run in a clone of its own."""
        clone = self.folder / name
        shutil.copytree(self.repository, clone)
        return Runner(Project(clone), self.store, self.launcher, name, shards={"score": PARTS}, key=key,
                      sleep=lambda seconds: None)  # fmt: skip

    def made(self, name: str) -> Counter[tuple[str, str]]:
        """How often each part was started by a run."""
        return Counter((work.stage, work.shard) for work in self.launcher.works if work.run == name)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    store = Store(f"file://{tmp_path / 'store'}")
    make_project(tmp_path / "repository")
    return Cluster(store, Scripted(store, tmp_path / "made"), tmp_path / "repository", tmp_path)


def bring_up_to_date(runner: Runner) -> None:
    for name in runner.project.stages:
        runner.update(name)


def dies_in(cluster: Cluster, stage: str, shard: str, key: bytes) -> None:
    """The first run ends with its pod while that part is at work."""

    def before(work: Work) -> None:
        if (work.stage, work.shard) == (stage, shard):
            raise PodGone

    cluster.launcher.before = before
    with pytest.raises(PodGone):
        bring_up_to_date(cluster.runner("first", key))
    cluster.launcher.before = lambda work: None


def test_a_new_run_makes_only_what_is_missing_and_the_same_of_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "k" * 32)  # as the Secret dp2o-run has it for every flow
    dies_in(cluster, "score", "00002-of-00003", run_key(None))
    second = cluster.runner("second", run_key(None))
    bring_up_to_date(second)
    done, again = cluster.made("first"), cluster.made("second")
    finished = set(done) - {("score", "00002-of-00003")}
    assert {("generate", "gather"), ("score", "00001-of-00003")} <= finished
    assert not finished & set(again)
    assert again[("score", "00002-of-00003")] == again[("score", "gather")] == again[("train", "whole")] == 1
    # and an undisturbed run, elsewhere, comes to the same lock
    apart = Cluster(Store(f"file://{cluster.folder / 'other'}"), cluster.launcher, cluster.repository, cluster.folder)
    apart.launcher.store = apart.store
    undisturbed = apart.runner("undisturbed", b"another")
    bring_up_to_date(undisturbed)
    locks = [(one.project.root / "dvc.lock").read_text() for one in (second, undisturbed)]
    assert locks[0] == locks[1]
    assert run(second.project.root, "git", "log", "--oneline").count("\n") == 1  # nothing was committed by half


def test_without_a_key_that_outlives_a_run_everything_is_made_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    dies_in(cluster, "score", "00002-of-00003", run_key(None))
    bring_up_to_date(cluster.runner("second", run_key(None)))
    assert set(cluster.made("first")) <= set(cluster.made("second"))
    assert f"{VARIABLE} is not set" in caplog.text
    monkeypatch.setenv(VARIABLE, "short")
    with pytest.raises(BadInput, match="give it 32 random ones"):
        run_key(None)
