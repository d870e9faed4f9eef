"""After the gate has said yes: approval without a second measurement, a no, death at any point, and the news of it."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from typer.testing import CliRunner

from components.artifacts import paths
from components.backbones.tiny_flow import TinyFlow
from components.cli.app import app
from components.errors import BadInput
from components.failpoints import Failpoint
from components.gate import benchmark
from components.gate.evidence import Bench
from components.promote import notify, promotion
from components.promote.promotion import Approval
from components.promote.rejection import reject
from components.promote.rollback import rollback
from components.promote.status import promotion_status
from components.registry import ledger
from components.registry.trust import UNSIGNED
from components.registry.versions import CHALLENGER, CHAMPION, IDENTITY_TAG, alias_version
from tests.promote.championed import make_champion
from tests.promote.gated import ADA, CPU, STEPS, WEIGHTS, Project, make_project, noised, save
from tests.promote.listener import Listener, listening
from tests.promote.test_transaction import killed_at


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Project:
    """sr-dev/1 has passed the gate against its base and waits; sr-dev/2 is registered and useless."""
    root = tmp_path_factory.mktemp("waiting")
    shutil.copy(empty_database, root / "mlflow.db")
    project = make_project(root)
    project.register(TinyFlow.load(WEIGHTS, STEPS, CPU))
    assert promotion.promote(project.settings, project.root).decision == "awaits approval"
    project.register(noised(0.3, seed=2))
    return project


@dataclass
class Copy:
    """A copy of the waiting project, and how often models were measured in it."""

    project: Project
    client: mlflow.MlflowClient
    measured: int = 0

    def promote(self, version_uri: str = "sr-dev/1", **arguments: Any) -> promotion.Outcome:
        settings = arguments.pop("settings", self.project.settings)
        return promotion.promote(settings, self.project.root, version_uri, **arguments)

    def limited(self, **limits: Any) -> Any:
        """The settings with other limits of the gate."""
        settings = self.project.settings
        return settings.model_copy(update={"gate": settings.gate.model_copy(update=limits)})

    def judged_ms(self, name: str = "sr-dev") -> int:
        return int(json.loads(self.client.get_model_version(name, "1").tags["dp2o.gate"])["judged_ms"])


@pytest.fixture
def copy(waiting: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it itself, to the last database in use
    shutil.copytree(waiting.root, tmp_path / "project")
    project = replace(waiting, root=tmp_path / "project")
    made = Copy(project, project.client())
    evidence = Bench.evidence

    def counted(*arguments: Any) -> Any:
        made.measured += 1
        return evidence(*arguments)

    monkeypatch.setattr(Bench, "evidence", counted)
    return made


def test_an_approval_measures_nothing_again(copy: Copy) -> None:
    before = copy.judged_ms()
    outcome = copy.promote(approval=Approval("ada", "looked at all pictures"))
    assert (outcome.decision, copy.measured) == ("promoted", 0)
    assert copy.judged_ms("sr") == before
    assert json.loads((copy.project.root / "reports/gate.json").read_text())["judged_ms"] == before
    (record,) = ledger.read(copy.client, "sr", UNSIGNED).records
    assert record.content.by == "ada"
    assert record.content.reason.endswith(": looked at all pictures")


@pytest.mark.parametrize("how", ["again", "old", "limits"])
def test_what_no_longer_holds_is_measured_again(copy: Copy, how: str) -> None:
    before = copy.judged_ms()
    limits: dict[str, Any] = {"again": {}, "old": {"valid_hours": 0.0}, "limits": {"min_gain": 0.0001}}[how]
    outcome = copy.promote(approval=ADA, again=how == "again", settings=copy.limited(**limits))
    assert (outcome.decision, copy.measured) == ("promoted", 2)
    assert copy.judged_ms() > before


def test_other_places_and_policies_do_not_make_it_anew(copy: Copy) -> None:
    outcome = copy.promote(policy="automatic", settings=copy.limited(policy="automatic", valid_hours=1.0))
    assert (outcome.decision, copy.measured) == ("promoted", 0)
    assert ledger.read(copy.client, "sr", UNSIGNED).records[0].content.by == "policy"


def test_what_is_said_of_a_version_is_what_was_judged(copy: Copy) -> None:
    """Whoever trains may write its tags; a signature is put under what they said when the gate read them."""

    def another(point: str) -> None:
        if point == "challenger set":
            copy.client.set_model_version_tag("sr-dev", "1", "dp2o.git_commit", "0" * 40)

    with pytest.raises(BadInput, match="after it was judged: nothing was promoted"):
        copy.promote(approval=ADA, failpoint=another)
    assert not ledger.read(copy.client, "sr", UNSIGNED).records
    assert copy.promote(approval=ADA).decision == "promoted"


def test_smaller_batches_are_the_same_question(copy: Copy) -> None:
    """What a flow changes after too little memory must not make a kept report worthless."""
    params = ["--params", str(copy.project.root / "params.yaml"), "--json"]
    smaller = ["--set", "generate.batch=1", "--set", "score.batch=1"]
    done = CliRunner().invoke(app, ["promote", "sr-dev/1", "--approved-by", "ada", *smaller, *params])
    assert done.exit_code == 0, done.output
    assert (json.loads(done.stdout)["decision"], copy.measured) == ("promoted", 0)
    refused = CliRunner().invoke(app, ["promote", "--set", "gate.min_gain=0", *params])
    assert refused.exit_code == 2
    assert "--set gate.min_gain=0: only settings that never change a result" in refused.stderr


def test_a_changed_set_is_asked_about_again_and_refused(copy: Copy) -> None:
    """Nobody's approval of pictures that were there before counts for those that are there now."""
    (name,) = benchmark.names(copy.project.root)
    manifest = copy.project.root / paths.BENCHMARKS / name / "manifest.json"
    content = json.loads(manifest.read_text())
    content["seeds"] += 1
    manifest.write_text(json.dumps(content))
    outcome = copy.promote(approval=ADA)
    assert outcome.decision == "refused"
    assert "first benchmark set, champion" in outcome.text


def test_the_approval_of_one_report_is_not_one_of_the_next(copy: Copy) -> None:
    status = promotion_status(copy.project.settings, copy.project.root, "sr-dev/1")
    assert status.report is not None
    approval = Approval("ada", "", status.report.question[:12])
    outcome = copy.promote(approval=approval, settings=copy.limited(min_gain=0.0001))
    assert outcome.decision == "awaits approval"
    assert f"ada approved report {approval.report}, which no longer holds" in outcome.text
    assert alias_version(copy.client, "sr", CHAMPION) is None
    assert copy.promote(approval=approval).decision == "promoted"


def test_a_person_may_say_no_and_later_yes(copy: Copy) -> None:
    root, settings = copy.project.root, copy.project.settings
    params = ["--params", str(root / "params.yaml")]
    done = CliRunner().invoke(app, ["reject", "--by", "eve", "--reason", "grain in the sky", *params])
    assert done.exit_code == 0, done.output
    assert done.stdout == "sr-dev/1 is rejected by eve: grain in the sky\n"
    assert alias_version(copy.client, "sr-dev", CHALLENGER) is None
    assert promotion_status(settings, root, "sr-dev/1").rejected_by == "eve"
    reject(settings, root, "eve", "grain in the sky", "sr-dev/1")
    assert [record.status for record in ledger.read(copy.client, "sr", UNSIGNED).records] == [
        "refused"
    ]  # said twice, kept once
    with pytest.raises(BadInput, match="sr-dev/2 has not passed the gate: there is nothing to reject"):
        reject(settings, root, "eve", "", "sr-dev/2")
    for policy in ("manual", "automatic"):
        again = copy.promote(policy=policy)
        assert again.decision == "rejected"
        assert "was rejected by eve: approve it after all with --approved-by" in again.text
    assert alias_version(copy.client, "sr-dev", CHALLENGER) is None
    assert copy.promote(approval=ADA).decision == "promoted"
    assert promotion_status(settings, root, "sr-dev/1").is_champion


def test_a_reason_without_an_approval_is_refused(copy: Copy) -> None:
    params = ["--params", str(copy.project.root / "params.yaml")]
    done = CliRunner().invoke(app, ["promote", "--reason", "why", *params])
    assert done.exit_code == 2
    assert "give --approved-by as well" in done.stderr


@pytest.mark.parametrize("point", ["judged", "challenger set", "copied", "recorded", "moved", "finished"])
def test_killed_at_any_point_of_a_promotion_the_next_run_ends_consistent(copy: Copy, point: str) -> None:
    killed_at(point, lambda failpoint: copy.promote(approval=ADA, failpoint=failpoint), mlflow.get_tracking_uri())
    moved = point in {"moved", "finished"}
    assert alias_version(copy.client, "sr", CHAMPION) == (1 if moved else None)
    outcome = copy.promote(approval=ADA)
    assert outcome.decision == ("already champion" if moved or point == "recorded" else "promoted")
    assert alias_version(copy.client, "sr", CHAMPION) == 1
    assert alias_version(copy.client, "sr-dev", CHALLENGER) is None
    (record,) = ledger.read(copy.client, "sr", UNSIGNED).records
    assert (record.status, record.content.version) == ("counts", 1)
    (version,) = copy.client.search_model_versions("name = 'sr'")
    assert version.tags["dp2o.gate"] == copy.client.get_model_version("sr-dev", "1").tags["dp2o.gate"]


def test_a_set_may_be_frozen_before_anything_is_judged(copy: Copy) -> None:
    root = copy.project.root
    (name,) = benchmark.names(root)
    shutil.rmtree(root / paths.BENCHMARKS)
    said = []
    for _ in range(2):
        result = CliRunner().invoke(app, ["freeze", "--params", str(root / "params.yaml")])
        assert result.exit_code == 0, result.output
        said.append(result.stdout.strip())
    # Of the same split, metrics and base model it is the same set.
    assert said == [f"benchmark set {name} is frozen from the test split", f"benchmark set {name} is there already"]
    assert benchmark.names(root) == [name]


@pytest.mark.parametrize("is_trained_on", [False, True])
def test_what_died_with_the_promotion_is_left_by_the_next_run(
    copy: Copy, is_trained_on: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A flow keeps the set and the report only after the champion is one; between, it may die with its clone."""
    root = copy.project.root
    (name,) = benchmark.names(root)
    killed_at("finished", lambda failpoint: copy.promote(approval=ADA, failpoint=failpoint), mlflow.get_tracking_uri())
    shutil.rmtree(root / paths.BENCHMARKS)
    (root / paths.GATE_REPORT).unlink()
    if is_trained_on:
        shutil.rmtree(root / "base")
        save(TinyFlow.load(WEIGHTS, STEPS, CPU), root / "base")
    assert copy.promote(approval=ADA).decision == "already champion"
    report = json.loads((root / paths.GATE_REPORT).read_text())
    assert report == json.loads(copy.client.get_model_version("sr", "1").tags["dp2o.gate"])
    assert report["benchmark"] == name
    # By the champion's own normaliser it would be another set under the first one's number.
    assert benchmark.names(root) == ([] if is_trained_on else [name])
    assert ("not the base that the champion was trained from" in caplog.text) == is_trained_on


@pytest.mark.parametrize("point", ["judged", "refused"])
def test_killed_at_any_point_of_a_refusal_there_is_one_record_of_it(copy: Copy, point: str) -> None:
    killed_at(point, lambda failpoint: copy.promote("sr-dev/2", failpoint=failpoint), mlflow.get_tracking_uri())
    assert len(ledger.read(copy.client, "sr", UNSIGNED).records) == (1 if point == "refused" else 0)
    assert copy.promote("sr-dev/2").decision == "refused"
    assert copy.measured == 0  # the child measured; its report holds
    (record,) = ledger.read(copy.client, "sr", UNSIGNED).records
    assert (record.status, record.content.source) == ("refused", "sr-dev/2")


def second_champion(copy: Copy, version: int = 2) -> None:
    make_champion(copy.project.settings, copy.project.root, f"sr-dev/{version}")


@pytest.mark.parametrize("point", ["recorded", "moved"])
def test_killed_at_any_point_of_a_rollback_the_next_command_ends_consistent(copy: Copy, point: str) -> None:
    copy.promote(approval=ADA)
    second_champion(copy)
    root, settings = copy.project.root, copy.project.settings

    def work(failpoint: Failpoint) -> object:
        return rollback(settings, root, "ada", failpoint=failpoint)

    killed_at(point, work, mlflow.get_tracking_uri())
    assert alias_version(copy.client, "sr", CHAMPION) == (1 if point == "moved" else 2)
    if point == "recorded":  # the same command finishes what was cut off, and goes back no further
        assert "which was cut off, is finished" in rollback(settings, root, "ada").text
    with pytest.raises(BadInput, match="no earlier champion"):
        rollback(settings, root, "ada")
    history = ledger.read(copy.client, "sr", UNSIGNED)
    assert history.champions == [1]
    assert alias_version(copy.client, "sr", CHAMPION) == 1
    assert [record.content.kind for record in history.records] == ["promote", "promote", "rollback"]


def test_the_copy_in_production_gets_the_report_of_its_last_promotion(copy: Copy) -> None:
    copy.promote(approval=ADA)
    first = copy.client.get_model_version("sr", "1").tags["dp2o.gate"]
    copy.project.register(noised(0.2, seed=1))  # the base model's weights: sr-dev/1 has beaten them once
    second_champion(copy, version=3)
    outcome = copy.promote(approval=ADA)
    assert (outcome.decision, outcome.version) == ("promoted", 1), outcome.text
    assert outcome.report is not None
    assert outcome.report.champion == "sr/2"
    tags = copy.client.get_model_version("sr", "1").tags
    assert json.loads(tags["dp2o.gate"]) == outcome.report.model_dump(mode="json") != json.loads(first)
    assert tags["dp2o.parent"] == "2"
    assert ledger.read(copy.client, "sr", UNSIGNED).records[0].content.gate == json.loads(first)  # what was, stays
    assert len(copy.client.search_model_versions(f"name = 'sr' and tags.`{IDENTITY_TAG}` != ''")) == 2


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    with listening() as made:
        monkeypatch.setenv(notify.VARIABLE, made.url)
        yield made


def test_people_are_told_of_every_decision(copy: Copy, listener: Listener) -> None:
    copy.promote()
    copy.promote(approval=ADA)
    copy.promote("sr-dev/2")
    second_champion(copy)
    rollback(copy.project.settings, copy.project.root, "ada", reason="complaints")
    waits, promoted, refused, back = listener.heard
    assert "waits: approve with" in waits["text"]
    assert "sr/1 is the champion (record 1, not signed: ada is what was typed)" in promoted["text"]
    assert promoted["attachments"][0]["color"] == "good"
    assert "sr-dev/2 is refused" in refused["text"]
    fields = {field["title"]: field["value"] for field in refused["attachments"][0]["fields"]}
    assert fields["champion"] == "sr/1"
    assert "reward gain" in fields["rows"]
    assert "from sr/2 back to sr/1: complaints" in back["text"]


@pytest.mark.parametrize("kind", ["hangs", "fails"])
def test_no_webhook_holds_up_a_promotion(
    copy: Copy, listener: Listener, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(notify.send, "__defaults__", (0.5,))
    listener.answer = lambda handler: time.sleep(5.0) if kind == "hangs" else listener.say(handler, 500)
    assert copy.promote(approval=ADA).decision == "promoted"
    assert alias_version(copy.client, "sr", CHAMPION) == 1
