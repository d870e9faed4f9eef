"""Registration, gate, promotion and rollback against an MLflow server on PostgreSQL that knows its users."""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml
from mlflow.exceptions import MlflowException
from mlflow.server import get_app_client
from skimage import data

from components.artifacts.gate_report import GateReport
from components.backbones.tiny_flow import TinyFlow
from components.errors import BadInput, ResumeLater
from components.failpoints import Failpoint, no_failpoint
from components.promote import promotion
from components.promote.production import PROMOTED, copy_to_production
from components.promote.status import history, promotion_status
from components.promote.transaction import commit, reconcile
from components.register import lineage
from components.registry import ledger
from components.registry.history import SUFFIX, Content
from components.registry.models import load_upscaler
from components.registry.trust import UNSIGNED
from components.registry.versions import CHALLENGER, CHAMPION, IDENTITY_TAG, alias_version
from components.settings import RegisterSettings, load_settings
from components.storage import digests
from components.upscale.upscaler import Upscaler
from tests.promote.championed import files_like_a_model
from tests.promote.gated import ADA, CPU, STEPS, WEIGHTS, Project, make_project, noised, repository
from tests.services.servers import Mlflow


@pytest.fixture(scope="module", autouse=True)
def admin(mlflow_server: Mlflow) -> Iterator[Mlflow]:
    """Whoever asks in this module is the admin, unless a test says otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in mlflow_server.environment().items():
            patch.setenv(name, value)
        mlflow.set_tracking_uri(mlflow_server.url)
        yield mlflow_server


@pytest.fixture
def user(admin: Mlflow, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Be a new user with the given permissions, by registered model, for the rest of the test."""

    def become(**permissions: str) -> None:
        client = get_app_client("basic-auth", tracking_uri=admin.url)
        name, password = f"trainer-{secrets.token_hex(3)}", secrets.token_hex(12)
        client.create_user(name, password)
        for model, permission in permissions.items():
            client.grant_user_permission(name, "registered_model", model, permission)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)

    return become


@dataclass(frozen=True)
class Judged:
    """A project whose first version has passed the gate, by its `report`."""

    project: Project
    client: mlflow.MlflowClient
    report: GateReport


@pytest.fixture(scope="module")
def judged(admin: Mlflow, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    project = make_project(tmp_path_factory.mktemp("project"))
    repository(project.root)
    client = mlflow.MlflowClient()
    for model in ("sr", "sr-history"):  # as docs/oncall.md says: by whoever decides about rights
        client.create_registered_model(model)
    project.register(TinyFlow.load(WEIGHTS, STEPS, CPU))
    outcome = promotion.promote(project.settings, project.root)
    assert outcome.decision == "awaits approval", outcome.text
    assert outcome.report is not None
    return Judged(project, client, outcome.report)


def test_a_user_without_the_right_cannot_promote(judged: Judged, user: Callable[..., None]) -> None:
    """A trainer may register and judge candidates: EDIT on the development model alone."""
    user(**{"sr-dev": "EDIT"})
    with pytest.raises(BadInput, match=r"403: trainer-\w+ may not do this: EDIT on the registered model") as refused:
        promotion.promote(judged.project.settings, judged.project.root, approval=ADA)
    assert "<name>-history" in str(refused.value)
    assert not judged.client.search_model_versions("name = 'sr'")
    assert history(judged.project.settings, judged.project.root)[0].records == []
    assert alias_version(judged.client, "sr", CHAMPION) is None


def test_a_reader_may_look_and_not_even_judge(judged: Judged, user: Callable[..., None]) -> None:
    user()
    with pytest.raises(BadInput, match="403"):
        promotion.promote(judged.project.settings, judged.project.root, "sr-dev/1", approval=ADA)
    assert promotion_status(judged.project.settings, judged.project.root, "sr-dev/1").report == judged.report


@pytest.fixture(scope="module")
def promoted(judged: Judged) -> Judged:
    outcome = promotion.promote(judged.project.settings, judged.project.root, approval=ADA)
    assert outcome.decision == "promoted", outcome.text
    return judged


def test_the_first_model_is_promoted(promoted: Judged) -> None:
    judged = promoted
    assert alias_version(judged.client, "sr", CHAMPION) == 1
    assert alias_version(judged.client, "sr-dev", CHALLENGER) is None
    (record,) = ledger.read(judged.client, "sr", UNSIGNED).records
    assert (record.content.kind, record.content.by, record.content.source) == ("promote", "ada", "sr-dev/1")


def test_a_promoted_version_carries_what_it_was_made_of(promoted: Judged) -> None:
    """Everything is read back from the server, by another client than wrote it, and checked against its source."""
    judged, root, settings = promoted, promoted.project.root, promoted.project.settings
    version = judged.client.get_model_version("sr", "1")
    tags = version.tags
    assert tags["dp2o.model"] == (weights := TinyFlow.load(WEIGHTS, STEPS, CPU).digest("policy"))
    assert tags["dp2o.base_model"] == TinyFlow.load(root / "base", STEPS, CPU).digest("policy")
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=root, text=True, timeout=60)
    assert tags["dp2o.git_commit"] == head.strip()
    assert tags["dp2o.dvc_lock"] == digests.of_json({"train": {"cmd": "train"}})
    assert tags["dp2o.dataset"] == digests.of_file(root / "data/dataset.parquet")
    assert tags["dp2o.params"] == lineage.params_digest(settings)
    evaluated = json.loads((root / "reports/evaluation.json").read_text())
    assert json.loads(tags["dp2o.metric_digests"]) == evaluated["metric_digests"]
    assert tags["dp2o.metrics"] == evaluated["digests"]["metrics"]
    report = json.loads(tags["dp2o.gate"])
    assert report == judged.report.model_dump(mode="json")
    assert len(report["checks"]) > 20
    assert tags["dp2o.parent"] == f"base {tags['dp2o.base_model'][:12]}"
    assert version.description.startswith("# sr-dev")
    assert weights in version.description
    info = mlflow.models.get_model_info("models:/sr@champion")
    assert info.signature.inputs.input_names() == ["image", "seed", "prompt"]
    example = mlflow.pyfunc.load_model("models:/sr@champion").input_example
    assert list(example.columns) == ["image", "seed"]
    loaded = load_upscaler(settings, root, "sr@champion", {})
    assert loaded.digest == weights
    photo = data.astronaut()[:20, 100:130].copy()
    here = Upscaler(TinyFlow.load(WEIGHTS, STEPS, CPU), "none")
    np.testing.assert_array_equal(loaded(photo, 3), here(photo, 3))


def test_artifacts_go_through_the_server(judged: Judged) -> None:
    """No client needs the store's keys."""
    run = judged.client.get_run(judged.client.get_model_version("sr-dev", "1").run_id)
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    assert {file.path for file in judged.client.list_artifacts(run.info.run_id)} >= {"model_card.md", "params.yaml"}


@pytest.mark.parametrize(("name", "told"), [("", "wants to know who asks"), ("admin", "does not know admin")])
def test_who_does_not_say_who_he_is_gets_nothing(
    judged: Judged, monkeypatch: pytest.MonkeyPatch, name: str, told: str
) -> None:
    if name:
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a wrong password")
    else:
        monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
        monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    with pytest.raises(BadInput, match=f"401: the server {told}.*: set MLFLOW_TRACKING_USERNAME"):
        history(judged.project.settings, judged.project.root)


@pytest.fixture
def names(admin: Mlflow, tmp_path: Path) -> tuple[str, str]:
    """Development and production model of a test's own; three versions in the former."""
    client = mlflow.MlflowClient()
    production = f"race-{secrets.token_hex(3)}"
    development = f"{production}-dev"
    client.create_registered_model(development)
    for number in (1, 2, 3):
        run = client.create_run("0")
        source = f"{run.info.artifact_uri}/model"
        client.create_model_version(development, source, run.info.run_id, tags={IDENTITY_TAG: f"identity{number}"})
    return development, production


def transact(names: tuple[str, str], version: int, failpoint: Failpoint = no_failpoint) -> None:
    """What follows the gate in a promotion."""
    development, production = names
    client = mlflow.MlflowClient()
    history = reconcile(client, production, UNSIGNED)
    made = files_like_a_model(Path(tempfile.mkdtemp(prefix="dp2o-test-")), version)
    settings = RegisterSettings(experiment=production, model_name=development, tracking_uri="")
    found = client.get_model_version(development, str(version))
    number, run = copy_to_production(client, (settings, Path()), found, production, made)
    failpoint("copied")
    if history.champion != number:
        content = Content(
            "promote", production, number, f"{development}/{version}", history.champion, "ada", "passed", {}, run=run
        )
        commit(client, production, content, history, UNSIGNED, failpoint)
    failpoint("finished")


def go_back(production: str, to: int, failpoint: Failpoint = no_failpoint) -> None:
    client = mlflow.MlflowClient()
    history = reconcile(client, production, UNSIGNED)
    if history.champion != to:
        content = Content("rollback", production, to, f"{production}/{to}", history.champion, "ada", "bad", {})
        commit(client, production, content, history, UNSIGNED, failpoint)


def test_edit_on_the_three_models_and_the_promoted_files_is_enough(
    admin: Mlflow, names: tuple[str, str], user: Callable[..., None]
) -> None:
    client, (development, production) = mlflow.MlflowClient(), names
    transact(names, 1)
    user(**{development: "EDIT", production: "EDIT", production + SUFFIX: "EDIT"})
    with pytest.raises(MlflowException, match="403"):  # no right on the experiment, by default: READ
        transact(names, 2)
    place = client.get_experiment_by_name(f"{production}{PROMOTED}").experiment_id
    who = os.environ["MLFLOW_TRACKING_USERNAME"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in admin.environment().items():
            patch.setenv(name, value)
        permissions = get_app_client("basic-auth", tracking_uri=admin.url)
        permissions.grant_user_permission(who, "experiment", place, "EDIT")
    transact(names, 2)
    assert alias_version(client, production, CHAMPION) == 2
    go_back(production, 1)
    assert alias_version(client, production, CHAMPION) == 1


def in_a_process(work: Callable[[], object]) -> int:
    """Fork, run `work`, and the child's process id; its exit code is 0, or 75 where it lost."""
    child = os.fork()
    if child:
        return child
    code = 17
    try:
        work()
        code = 0
    except ResumeLater as lost:
        Path(os.environ["LOST"]).write_text(str(lost))
        code = 75
    finally:
        os._exit(code)


def killed_at(point: str, work: Callable[[Failpoint], object]) -> None:
    child = in_a_process(lambda: work(lambda name: os.kill(os.getpid(), signal.SIGKILL) if name == point else None))
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"never reached {point}"


@pytest.mark.parametrize("point", ["copied", "recorded", "moved", "finished"])
def test_a_promotion_killed_anywhere_ends_consistent_when_it_is_run_again(names: tuple[str, str], point: str) -> None:
    client, production = mlflow.MlflowClient(), names[1]
    transact(names, 1)
    killed_at(point, lambda failpoint: transact(names, 2, failpoint))
    assert alias_version(client, production, CHAMPION) == (2 if point in {"moved", "finished"} else 1)
    transact(names, 2)
    history = ledger.read(client, production, UNSIGNED)
    assert history.champion == alias_version(client, production, CHAMPION) == 2
    assert [(record.content.version, record.status) for record in history.records] == [(1, "counts"), (2, "counts")]
    assert len(client.search_model_versions(f"name = '{production}'")) == 2


@pytest.mark.parametrize("point", ["recorded", "moved"])
def test_a_rollback_killed_anywhere_ends_consistent(names: tuple[str, str], point: str) -> None:
    client, production = mlflow.MlflowClient(), names[1]
    transact(names, 1)
    transact(names, 2)
    killed_at(point, lambda failpoint: go_back(production, 1, failpoint))
    go_back(production, 1)
    history = ledger.read(client, production, UNSIGNED)
    assert history.champions == [1]
    assert alias_version(client, production, CHAMPION) == 1
    assert [record.content.kind for record in history.records] == ["promote", "promote", "rollback"]


@pytest.mark.parametrize("attempt", range(3))
def test_of_two_processes_one_wins_and_the_other_says_why(
    names: tuple[str, str], attempt: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOST", str(tmp_path / "lost"))
    client, production = mlflow.MlflowClient(), names[1]
    transact(names, 1)

    def meet(version: int) -> Failpoint:
        """Both have read the history before either writes."""

        def failpoint(point: str) -> None:
            if point == "copied":
                (tmp_path / f"here-{version}").touch()
                while len(list(tmp_path.glob("here-*"))) < 2:
                    time.sleep(0.005)

        return failpoint

    children = [in_a_process(lambda v=version: transact(names, v, meet(v))) for version in (2, 3)]  # type: ignore[misc]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(codes) == [0, 75]
    history = ledger.read(client, production, UNSIGNED)
    winner = next(record for record in history.records[1:] if record.status == "counts")
    loser = next(record for record in history.records[1:] if record.status == "lost")
    assert loser.lost_to == winner.number < loser.number
    assert alias_version(client, production, CHAMPION) == history.champion == winner.content.version
    told = (tmp_path / "lost").read_text()
    assert f"lost: record {winner.number} of {production}-history was written first" in told


def test_two_approvals_at_once_make_one_champion(judged: Judged) -> None:
    """The whole command, twice, for two versions that have both beaten the base: the second to come has not been judged
    against the first, so that its approval counts no more."""
    root = judged.project.root
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["register"]["model_name"] = "duel-dev"
    (root / "duel.yaml").write_text(yaml.safe_dump(values))
    project = Project(root, load_settings(root / "duel.yaml"))
    command = [sys.executable, "-m", "components.register", "promote", "--params", str(root / "duel.yaml")]
    commands = []
    for number, model in enumerate((TinyFlow.load(WEIGHTS, STEPS, CPU), noised(0.02, seed=5)), start=1):
        project.register(model)
        outcome = promotion.promote(project.settings, root)
        assert outcome.decision == "awaits approval", outcome.text
        assert outcome.report is not None
        approval = ["--approved-by", "ada", "--report", outcome.report.question]
        commands.append([*command, f"duel-dev/{number}", *approval])
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for command in commands
    ]
    ends = [(process.communicate(timeout=900), process.returncode) for process in started]
    codes = [code for _, code in ends]
    assert codes.count(0) == 1, ends
    for (out, error), code in ends:
        lost = code == 75 and "was written first and decided" in error
        late = code == 3 and ("is refused" in out or "which no longer holds" in out)
        assert code == 0 or lost or late, (out, error)
    history = ledger.read(judged.client, "duel", UNSIGNED)
    assert history.champions == [alias_version(judged.client, "duel", CHAMPION)]
    assert [record.content.source for record in history.records if record.status == "counts"] == [
        f"duel-dev/{codes.index(0) + 1}"
    ]
