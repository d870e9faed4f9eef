import base64
import json
import logging
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from skimage import data
from typer.testing import CliRunner

from components.artifacts import paths
from components.artifacts.shards import Shard, decode_png, encode_png
from components.cli.app import app
from components.errors import BadInput, ResumeLater
from components.register import stage
from components.registry.models import list_versions, load_upscaler, show_version
from components.registry.tracking import tracking_uri
from components.runtime.process import resolve_device
from components.settings import Settings
from components.upscale.upscaler import Upscaler
from tests.register.project import make_project, save_model

PHOTO = data.astronaut()[:20, 100:130].copy()


@dataclass(frozen=True)
class Registered:
    """A project whose model has been registered once."""

    settings: Settings
    root: Path
    record: dict[str, object]
    warnings: str

    def client(self) -> mlflow.MlflowClient:
        mlflow.set_tracking_uri(tracking_uri(self.settings.register_, self.root))
        return mlflow.MlflowClient()


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Registered:
    root = tmp_path_factory.mktemp("project")
    shutil.copy(empty_database, root / "mlflow.db")
    settings = make_project(root)
    seen: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    stage.logger.addHandler(handler)
    stage.run(settings, root)
    stage.logger.removeHandler(handler)
    return Registered(settings, root, json.loads((root / "reports/registration.json").read_text()), "\n".join(seen))


def expected(root: Path, settings: Settings, seed: int) -> torch.Tensor:
    upscaler = Upscaler.load(root / paths.BEST, settings.backbone, resolve_device("auto"))
    return torch.from_numpy(upscaler(PHOTO, seed))


def test_version_alias_tags_and_record(registered: Registered) -> None:
    client = registered.client()
    version = client.get_model_version_by_alias("test-model", "candidate")
    assert int(version.version) == 1
    assert registered.record["version"] == 1
    assert registered.record["run_id"] == version.run_id
    assert registered.record["model_digest"] == version.tags["dp2o.model"]
    assert version.tags["dp2o.base_model"] == "b" * 64
    assert version.description.startswith("# test-model")


def test_params_curves_and_evaluation_are_logged(registered: Registered) -> None:
    client = registered.client()
    run = client.get_run(str(registered.record["run_id"]))
    assert run.data.params["train.objective.beta"] == str(registered.settings.train.objective.beta)
    assert run.data.metrics["evaluation/metrics/clipiqa_plus/aligned"] == 0.75
    points = client.get_metric_history(run.info.run_id, "training/loss")
    assert [(point.step, point.value) for point in points] == [(1, 0.6931), (2, 0.5)]
    assert [point.step for point in client.get_metric_history(run.info.run_id, "training/accuracy")] == [2]
    assert run.data.tags["dp2o.model"] == registered.record["model_digest"]


def test_files_are_attached_and_missing_ones_are_named(registered: Registered) -> None:
    client = registered.client()
    run_id = str(registered.record["run_id"])
    assert {file.path for file in client.list_artifacts(run_id, "reports")} == {
        "reports/evaluation.json",
        "reports/index.html",
    }
    pictures = {Path(file.path).name for file in client.list_artifacts(run_id, "pictures")}
    assert pictures == {f"{'a' * 16}.{model}.000.png" for model in ("base", "aligned")}
    assert {file.path for file in client.list_artifacts(run_id)} >= {"model_card.md", "params.yaml"}
    assert "dvc.lock does not exist: the run is logged without it" in registered.warnings
    assert (registered.root / "mlartifacts").is_dir()


def test_same_result_is_registered_once(registered: Registered, caplog: pytest.LogCaptureFixture) -> None:
    client = registered.client()
    client.delete_registered_model_alias("test-model", "candidate")
    before = (registered.root / "reports/registration.json").read_bytes()
    with caplog.at_level(logging.INFO, "dp2o.register"):
        stage.run(registered.settings, registered.root)
    assert "version 1 is this very result already" in caplog.text
    assert len(client.search_model_versions("name = 'test-model'")) == 1
    assert int(client.get_model_version_by_alias("test-model", "candidate").version) == 1
    assert (registered.root / "reports/registration.json").read_bytes() == before


def test_loaded_model_restores_as_the_upscaler_does(registered: Registered) -> None:
    registered.client()
    model = mlflow.pyfunc.load_model("models:/test-model@candidate")
    text = base64.b64encode(encode_png(PHOTO)).decode()
    answer = model.predict(pd.DataFrame({"image": [text, text], "seed": [0, 3]}))
    for row, seed in enumerate((0, 3)):
        restored = torch.from_numpy(decode_png(base64.b64decode(answer["image"][row])).copy())
        assert torch.equal(restored, expected(registered.root, registered.settings, seed))
    without_seed = model.predict(pd.DataFrame({"image": [text]}))
    assert without_seed["image"][0] == answer["image"][0]


def test_fresh_process_loads_it(registered: Registered) -> None:
    script = """
import sys, base64, mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
text = base64.b64encode(open(sys.argv[2], "rb").read()).decode()
answer = mlflow.pyfunc.load_model("models:/test-model/1").predict(pandas.DataFrame({"image": [text]}))
sys.stdout.write(answer["image"][0])
"""
    photo = registered.root / "photo.png"
    photo.write_bytes(encode_png(PHOTO))
    uri = tracking_uri(registered.settings.register_, registered.root)
    done = subprocess.run(
        [sys.executable, "-c", script, uri, str(photo)],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    restored = torch.from_numpy(decode_png(base64.b64decode(done.stdout)).copy())
    assert torch.equal(restored, expected(registered.root, registered.settings, 0))


@pytest.mark.parametrize(("text", "why"), [("%%", "row 0 is not base64"), ("bm8=", "row 0 cannot be used: unreadable")])
def test_unusable_picture_is_the_caller_s_fault(registered: Registered, text: str, why: str) -> None:
    registered.client()
    model = mlflow.pyfunc.load_model("models:/test-model/1")
    with pytest.raises(MlflowException, match=why) as raised:
        model.predict(pd.DataFrame({"image": [text]}))
    assert raised.value.get_http_status_code() == 400


def test_registry_lists_shows_and_loads(registered: Registered) -> None:
    settings, root = registered.settings.register_, registered.root
    (listed,) = list_versions(settings, root)
    assert (listed.model, listed.version, listed.aliases) == ("test-model", 1, ["candidate"])
    assert listed.headline == "reward 0.5000 -> 0.6250"
    shown, card = show_version(settings, root, "models:/test-model@candidate")
    assert shown == listed
    assert "Base against aligned" in card
    upscaler = load_upscaler(registered.settings, root, "models:/test-model@candidate", {"tile": 64})
    assert upscaler.tiling.tile == 64
    assert torch.equal(torch.from_numpy(upscaler(PHOTO, 1)), expected(root, registered.settings, 1))


def test_commands_list_and_show(registered: Registered) -> None:
    params = ["--params", str(registered.root / "params.yaml")]
    listed = CliRunner().invoke(app, ["models", "list", "--json", *params])
    assert [version["version"] for version in json.loads(listed.stdout)] == [1]
    shown = CliRunner().invoke(app, ["models", "show", *params])
    assert shown.exit_code == 0
    assert shown.stdout.startswith("version 1 (@candidate)")
    absent = CliRunner().invoke(app, ["models", "show", "test-model/7", *params])
    assert absent.exit_code == 2
    assert "dp2o models show: MLflow at" in absent.stderr


def test_command_restores_with_the_registered_model(registered: Registered, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(encode_png(PHOTO))
    arguments = ["upscale", str(tmp_path / "photo.png"), "--model", "models:/test-model@candidate", "--seed", "3"]
    done = CliRunner().invoke(app, [*arguments, "--params", str(registered.root / "params.yaml"), "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["model_digest"] == registered.record["model_digest"]
    restored = torch.from_numpy(decode_png((tmp_path / "photo-x4.png").read_bytes()).copy())
    assert torch.equal(restored, expected(registered.root, registered.settings, 3))


@pytest.mark.parametrize(
    ("version_uri", "why"),
    [("test-model", "names no model version"), ("test-model@absent", "absent"), ("no/9", "version=9")],
)
def test_an_unknown_version_uri_is_refused(registered: Registered, version_uri: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        show_version(registered.settings.register_, registered.root, version_uri)


def test_other_weights_are_another_version(registered: Registered) -> None:
    save_model(registered.root, seed=1)
    try:
        stage.run(registered.settings, registered.root)
        client = registered.client()
        assert int(client.get_model_version_by_alias("test-model", "candidate").version) == 2
    finally:
        save_model(registered.root, seed=0)
        stage.run(registered.settings, registered.root)
    assert int(client.get_model_version_by_alias("test-model", "candidate").version) == 1


def test_shard_is_refused(project: tuple[Settings, Path]) -> None:
    with pytest.raises(BadInput, match="cannot be sharded"):
        stage.run(*project, Shard(0, 2))


def test_missing_evaluation_is_refused(project: tuple[Settings, Path]) -> None:
    settings, root = project
    (root / "reports/evaluation.json").unlink()
    with pytest.raises(BadInput, match="run evaluate first"):
        stage.run(settings, root)


def test_incomplete_evaluation_is_refused(project: tuple[Settings, Path]) -> None:
    settings, root = project
    (root / "reports/evaluation.json").write_text('{"reward": {}}')
    with pytest.raises(
        BadInput,
        match=r"is damaged, or of another version \(images: Field required\)",
    ):
        stage.run(settings, root)


def test_evaluation_of_other_weights_is_refused(project: tuple[Settings, Path]) -> None:
    settings, root = project
    evaluated = (root / "reports/evaluation.json").read_text()
    save_model(root, seed=1)
    (root / "reports/evaluation.json").write_text(evaluated)
    with pytest.raises(BadInput, match=r"is of weights .* run evaluate again"):
        stage.run(settings, root)


def test_unreachable_server_says_resume_and_leaves_no_record(
    project: tuple[Settings, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, root = project
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ResumeLater, match="cannot be used now"):
        stage.run(settings, root)
    assert not (root / "reports/registration.json").exists()
