"""From the first model to a refusal, through commands and a real registry."""

import json
import shutil
from pathlib import Path

import mlflow
import pytest
from typer.testing import CliRunner

from components.backbones.tiny_flow import TinyFlow
from components.cli.app import app
from components.failpoints import Failpoint
from components.promote import promotion
from components.registry import ledger
from components.registry.trust import UNSIGNED
from components.registry.versions import CHAMPION, alias_version
from tests.promote.gated import ADA, CPU, STEPS, WEIGHTS, Project, make_project, noised
from tests.promote.test_transaction import killed_at


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Project:
    root = tmp_path_factory.mktemp("project")
    shutil.copy(empty_database, root / "mlflow.db")
    return make_project(root)


def test_from_the_first_model_to_a_refusal_and_back(project: Project) -> None:
    params = ["--params", str(project.root / "params.yaml")]
    project.register(TinyFlow.load(WEIGHTS, STEPS, CPU))
    waiting = CliRunner().invoke(app, ["promote", *params])
    assert waiting.exit_code == 3, waiting.output
    assert "waits: approve with" in waiting.stdout
    client = project.client()
    assert alias_version(client, "sr-dev", "challenger") == 1
    assert alias_version(client, "sr", CHAMPION) is None

    def cut_off(point: str) -> None:
        def promote(failpoint: Failpoint) -> object:
            return promotion.promote(project.settings, project.root, approval=ADA, failpoint=failpoint)

        killed_at(point, promote, mlflow.get_tracking_uri())

    for point in ("judged", "challenger set"):
        cut_off(point)
        assert alias_version(client, "sr", CHAMPION) is None
    done = CliRunner().invoke(app, ["promote", "--approved-by", "ada", "--json", *params])
    assert done.exit_code == 0, done.output
    outcome = json.loads(done.stdout)
    assert (outcome["decision"], outcome["model"], outcome["version"]) == ("promoted", "sr", 1)
    assert outcome["report"]["champion"] == "base model"
    assert alias_version(client, "sr", CHAMPION) == 1
    assert alias_version(client, "sr-dev", "challenger") is None
    tags = client.get_model_version("sr", "1").tags
    assert json.loads(tags["dp2o.gate"])["passed"] is True
    assert tags["dp2o.parent"].startswith("base ")
    assert set(tags) >= {f"dp2o.{name}" for name in ("model", "git_commit", "dvc_lock", "dataset", "metrics")}
    assert promotion.promote(project.settings, project.root).decision == "already champion"

    project.register(noised(0.3, seed=2))
    refused = promotion.promote(project.settings, project.root, approval=ADA)
    assert refused.decision == "refused"
    assert "checks said no, first reward gain" in refused.text
    assert alias_version(client, "sr", CHAMPION) == 1
    assert json.loads((project.root / "reports/gate.json").read_text())["passed"] is False
    assert client.get_model_version("sr-dev", "2").tags["dp2o.gate_verdict"] == "refused"

    told = CliRunner().invoke(app, ["history", "--json", *params])
    kinds = [record["content"]["kind"] for record in json.loads(told.stdout)["records"]]
    assert kinds == ["promote", "refuse"]
    back = CliRunner().invoke(app, ["rollback", "--by", "ada", *params])
    assert back.exit_code == 2
    assert "no earlier champion" in back.stderr
    assert len(ledger.read(client, "sr", UNSIGNED).records) == 2
