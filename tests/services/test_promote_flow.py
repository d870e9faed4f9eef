"""The promote flow on a real Prefect server: a person answers, says no, or does not answer at all."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.settings import PREFECT_API_URL, temporary_settings

from components.backbones.tiny_flow import TinyFlow
from components.registry import ledger
from components.registry.trust import UNSIGNED
from components.registry.versions import CHALLENGER, CHAMPION, alias_version
from tests.flows.made import run as shell
from tests.made import REPOSITORY
from tests.promote.gated import CPU, STEPS, WEIGHTS, Project, make_project, noised
from tests.services.servers import Prefect, process

WITHIN = 400.0
"""Seconds for the gate on a busy machine."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The embedded model is registered; its base is the model to beat."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        made = make_project(tmp_path_factory.mktemp("project"))
        made.register(TinyFlow.load(WEIGHTS, STEPS, CPU))
        yield made


@dataclass(frozen=True)
class Run:
    """A flow run in a process of its own."""

    client: SyncPrefectClient
    name: str

    def read(self) -> FlowRun | None:
        found = [run for run in self.client.read_flow_runs(limit=50) if run.tags == [self.name]]
        return found[0] if found else None

    def until(self, wanted: Callable[[FlowRun], bool]) -> FlowRun:
        end = time.monotonic() + WITHIN
        while time.monotonic() < end:
            run = self.read()
            if run is not None and run.state is not None and wanted(run):
                return run
            time.sleep(0.5)
        raise AssertionError(f"{self.name}: {self.read()}")

    def answer(self, **form: Any) -> None:
        run = self.until(lambda run: run.state is not None and run.state.is_paused())
        self.client.resume_flow_run(run.id, run_input=form)

    def end(self) -> FlowRun:
        return self.until(lambda run: run.state is not None and run.state.is_final())

    def artifacts(self) -> list[str]:
        run = self.read()
        assert run is not None
        chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        found = self.client.read_artifacts(artifact_filter=chosen)
        return [str(artifact.data) for artifact in sorted(found, key=lambda one: one.created)]


@pytest.fixture
def started(prefect_server: Prefect, project: Project, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    with temporary_settings({PREFECT_API_URL: prefect_server.url}), get_client(sync_client=True) as client:

        @contextmanager
        def start(**parameters: Any) -> Iterator[Run]:
            name = f"test-{time.monotonic_ns()}"
            script = (
                "import json, sys\nfrom pathlib import Path\nfrom prefect import tags\n"
                "from flows.promote import promote\n"
                f"with tags({name!r}): promote(project=Path({str(project.root)!r}), **json.loads(sys.argv[1]))"
            )
            command = [sys.executable, "-c", script, json.dumps(parameters)]
            environment = prefect_server.environment | {"PYTHONPATH": str(REPOSITORY)}
            with process(command, tmp_path / f"{name}.log", lambda: True, environment):
                try:
                    yield Run(client, name)
                except AssertionError as error:
                    raise AssertionError(f"{error}\n{(tmp_path / f'{name}.log').read_text()[-4000:]}") from error

        yield start


def judged_ms(client: mlflow.MlflowClient, name: str) -> int:
    return int(json.loads(client.get_model_version(name, "1").tags["dp2o.gate"])["judged_ms"])


def test_nobody_answers(started: Callable[..., Any], project: Project) -> None:
    client = project.client()
    with started(wait_hours=0.002) as run:
        ended = run.end()
        assert "nobody answered in time" in run.artifacts()[-1]
        names = [state.name for state in run.client.read_flow_run_states(ended.id)]
    assert "Failed" not in names  # not even for a moment: an automation would wake somebody
    assert (ended.state.type, ended.state.name) == (StateType.COMPLETED, "Unanswered")
    assert alias_version(client, "sr-dev", CHALLENGER) == 1
    assert alias_version(client, "sr", CHAMPION) is None


def test_a_person_says_no_then_yes(started: Callable[..., Any], project: Project) -> None:
    """A no holds as long as its report; who starts the flow with `again` is asked about a new one."""
    client = project.client()
    judged = judged_ms(client, "sr-dev")
    with started(wait_hours=1) as run:
        run.answer(approve=False, by="ada", reason="grain in the sky")
        ended = run.end()
    assert (ended.state.type, ended.state.name) == (StateType.COMPLETED, "Rejected")
    assert "sr-dev/1 by ada" in ended.state.message
    assert alias_version(client, "sr", CHAMPION) is None
    assert alias_version(client, "sr-dev", CHALLENGER) is None
    (record,) = ledger.read(client, "sr", UNSIGNED).records
    assert (record.status, record.content.by) == ("refused", "ada")
    assert "grain in the sky" in record.content.reason

    with started(version_uri="sr-dev/1", policy="automatic") as run:
        assert run.end().state.name == "Rejected"  # no policy goes over a person's head
    assert judged_ms(client, "sr-dev") == judged
    assert alias_version(client, "sr", CHAMPION) is None

    with started(version_uri="sr-dev/1", again=True) as run:
        waiting = run.until(lambda run: run.state.is_paused())
        assert alias_version(client, "sr-dev", CHALLENGER) == 1
        (table,) = run.artifacts()
        assert "| yes | reward gain |" in table
        assert "waits for an approval" in table
        nameless = run.client.resume_flow_run(waiting.id, run_input={"approve": True})  # the form is typed
        assert nameless.status is SetStateStatus.REJECT
        assert "'by' is a required property" in nameless.details.reason
        run.answer(approve=True, by="ada", reason="looked at it again")
        ended = run.end()
        assert "Promoted: sr/1 is the champion" in run.artifacts()[-1]
    assert (ended.state.type, ended.state.name) == (StateType.COMPLETED, "Promoted")
    assert alias_version(client, "sr", CHAMPION) == 1
    assert judged_ms(client, "sr") == judged_ms(client, "sr-dev") > judged
    record = ledger.read(client, "sr", UNSIGNED).records[-1]
    assert (record.content.by, record.status) == ("ada", "counts")
    assert "looked at it again" in record.content.reason


def test_a_refusal_is_no_failure_and_names_its_rows(started: Callable[..., Any], project: Project) -> None:
    project.register(noised(0.3, seed=2))
    with started(policy="automatic") as run:
        ended = run.end()
        (table,) = run.artifacts()
    assert (ended.state.type, ended.state.name) == (StateType.COMPLETED, "Refused")
    assert "reward gain" in ended.state.message
    assert table.index("| no | reward gain |") < table.index("| yes |")
    assert alias_version(project.client(), "sr", CHAMPION) == 1


@pytest.fixture
def repository(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project as a cluster has it: settings and digests in a bare repository, data in a store, a registry apart."""
    root, bare = tmp_path / "work", tmp_path / "remote.git"
    for name in ("params.yaml", "base", "data/dataset", "data/dataset.parquet"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (project.root / name).is_dir() else shutil.copy
        copy(project.root / name, root / name)
    for command in (
        ("git", "init", "-q", "-b", "main"),
        ("git", "config", "user.name", "test"),
        ("git", "config", "user.email", "test@localhost"),
        ("dvc", "init", "-q"),
        ("dvc", "remote", "add", "-d", "store", str(tmp_path / "store")),
        ("dvc", "add", "-q", "base", "data/dataset", "data/dataset.parquet"),
        ("dvc", "push", "-q"),
        ("git", "add", "-A"),
        ("git", "commit", "-qm", "project"),
        ("git", "clone", "-q", "--bare", str(root), str(bare)),
    ):
        shell(root, *command)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.root / 'mlflow.db'}")
    return bare


def test_in_a_clone_the_first_set_is_committed_before_anything_is_judged(
    started: Callable[..., Any], repository: Path, tmp_path: Path
) -> None:
    options = {"store": f"file://{tmp_path / 'store'}"}
    with started(repository=str(repository), version_uri="sr-dev/2", policy="automatic", options=options) as run:
        ended = run.end()
        assert ended.state.name == "Refused", ended.state
    subjects = shell(repository, "git", "log", "--format=%s", "main").splitlines()[::-1]
    assert subjects[:2] == ["project", "gate: the first benchmark set"]
    assert subjects[2].startswith("promote: sr-dev/2: reward gain")
    shell(tmp_path, "git", "clone", "-q", str(repository), "clone")
    shell(tmp_path / "clone", "dvc", "pull", "-q", "data/benchmark")
    report = json.loads((tmp_path / "clone/reports/gate.json").read_text())
    assert [path.name for path in (tmp_path / "clone/data/benchmark").iterdir()] == [report["benchmark"]]
    assert report["champion"] == "sr/1"


def test_the_champion_itself_is_promoted_already(started: Callable[..., Any], project: Project) -> None:
    records = len(ledger.read(project.client(), "sr", UNSIGNED).records)
    with started(version_uri="sr-dev/1") as run:  # nothing to measure or to ask
        assert run.end().state.name == "Promoted"
    assert len(ledger.read(project.client(), "sr", UNSIGNED).records) == records


def test_a_wrong_version_uri_fails_with_its_reason(started: Callable[..., Any], project: Project) -> None:
    with started(version_uri="sr-dev/99") as run:
        ended = run.end()
    assert ended.state.type is StateType.FAILED
    assert "99" in ended.state.message


def test_the_flow_imports_no_network_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, flows.promote; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        timeout=600,
    )
    assert done.stdout.strip() == "False"
