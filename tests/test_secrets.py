"""A secret in every setting and variable that can hold one, a whole small run, and nothing of them in what it wrote."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from components import redaction
from components.cli.app import app
from components.errors import ExitCode
from components.pipeline.files import secrets, set_param
from components.stages import STAGES
from tests.made import SCALE, SIDE, photo, write_params

pytestmark = pytest.mark.slow

CANARY = "canary-7f3a"
VARIABLES = {
    "MLFLOW_TRACKING_USERNAME": "ada",
    "MLFLOW_TRACKING_PASSWORD": f"{CANARY}-mlflow",
    "MLFLOW_TRACKING_TOKEN": f"{CANARY}-mlflow-token",
    "AWS_ACCESS_KEY_ID": "AKIA0",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}-s3",
    "AWS_SESSION_TOKEN": f"{CANARY}-s3-session",
    "HF_TOKEN": f"{CANARY}-hub",
    "PREFECT_API_KEY": f"{CANARY}-prefect",
    "PREFECT_API_AUTH_STRING": f"admin:{CANARY}-prefect",
    "PGPASSWORD": f"{CANARY}-postgres",
    "GIT_CONFIG_VALUE_0": f"Authorization: Basic {CANARY}-git",
    "HTTPS_PROXY": f"http://user:{CANARY}-proxy@proxy.invalid:3128",
    "DP2O_RUN_KEY": f"{CANARY}-run",
    "DP2O_RESULT_KEY": f"{CANARY}-result",
    "DP2O_WEBHOOK_SECRET": f"{CANARY}-webhook-secret",
}


def write_project(root: Path) -> None:
    generator = np.random.default_rng(0)
    (root / "photos").mkdir()
    for number in range(6):
        Image.fromarray(photo(generator, 2 * SIDE)).save(root / f"photos/{number}.png")
    split = {"align": 0.5, "validation": 0.25, "test": 0.25}
    prepare: dict[str, Any] = {"sources": ["photos"], "crop": SIDE, "min_side": SIDE, "crops_per_photo": 1}
    weights = Path(__file__).parents[1] / "components/backbones/weights/tiny_flow"
    write_params(
        root,
        run={"device": "cpu", "workers": 1},
        prepare=prepare | {"split": split, "scale": SCALE},
        backbone={"path": str(weights), "steps": 2},
        generate={"candidates": 4, "batch": 4},
        score={"fr": ["psnr"], "nr": [], "held_out": ["ssim"]},
        pair={"top": 1},
        train={"steps": 1, "groups_per_step": 2, "micro_batch": 1, "warmup_steps": 0, "validate_every": 1}
        | {"validation_images": 1, "validation_seeds": 2},
        evaluate={"seeds": 2, "bootstrap": 100, "peers": ["bicubic"]},
        register={"model_name": "tiny-dev"},
    )
    for block, key in secrets():
        # nobody listens there: what is logged about it must not name it
        set_param(root, block, key, f"http://127.0.0.1:9/{CANARY}-{block}-{key}")


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DP2O_WEBHOOK_URL", raising=False)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)


def test_a_whole_run_writes_no_secret(
    planted: None, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_project(tmp_path)
    told = ""
    for arguments in [*([stage] for stage in STAGES), ["promote"], ["history"], ["lineage", "tiny-dev/1"], ["results"]]:
        done = CliRunner().invoke(app, [*arguments, "--params", str(tmp_path / "params.yaml")])
        assert done.exit_code in (ExitCode.OK, ExitCode.BAD_INPUT, ExitCode.REFUSED), done.output
        assert arguments[0] not in STAGES or done.exit_code == ExitCode.OK, done.output
        told += done.output
    shown = capfd.readouterr()
    told += shown.out + shown.err + caplog.text
    assert CANARY not in told
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path != tmp_path / "params.yaml"]
    assert {"mlflow.db", "index.html", "params.yaml", "model_card.md"} <= {path.name for path in written}
    found = {str(path.relative_to(tmp_path)) for path in written if CANARY.encode() in path.read_bytes()}
    assert not found
    assert (tmp_path / "params.yaml").read_text().count(CANARY) == len(secrets())


def test_every_variable_that_holds_a_secret_is_known(planted: None) -> None:
    for name, value in VARIABLES.items():
        if CANARY in value:
            assert CANARY not in redaction.redacted(f"{name} is {value}!"), name
    assert os.environ["AWS_ACCESS_KEY_ID"] in redaction.redacted(f"key {os.environ['AWS_ACCESS_KEY_ID']}")
