import time
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE

from components.errors import BadInput, ResumeLater
from components.registry.tracking import connected, tracking_uri
from components.settings import RegisterSettings

SETTINGS = RegisterSettings(experiment="e", model_name="m", tracking_uri="sqlite:///mlflow.db")


def test_database_is_relative_to_the_root(tmp_path: Path) -> None:
    assert tracking_uri(SETTINGS, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    absolute = SETTINGS.model_copy(update={"tracking_uri": "sqlite:////var/mlflow.db"})
    assert tracking_uri(absolute, tmp_path) == "sqlite:////var/mlflow.db"


def test_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert tracking_uri(SETTINGS, tmp_path) == "http://mlflow:5000"


def test_unreachable_server_is_said_quickly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the discard port: nothing listens
    started = time.monotonic()
    with (
        pytest.raises(
            ResumeLater, match=r"MLflow at http://127\.0\.0\.1:9 cannot be used now.*\n.*run the same command"
        ),
        connected(SETTINGS, tmp_path) as client,
    ):
        client.search_experiments()
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(("code", "raised"), [(PERMISSION_DENIED, BadInput), (TEMPORARILY_UNAVAILABLE, ResumeLater)])
def test_refusal_is_final_and_trouble_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, raised: type[Exception]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    with pytest.raises(raised, match="why"), connected(SETTINGS, tmp_path):
        raise MlflowException("why", error_code=code)


@pytest.mark.parametrize(("inner", "raised"), [(PERMISSION_DENIED, BadInput), (RESOURCE_DOES_NOT_EXIST, ResumeLater)])
def test_a_refusal_that_mlflow_wraps_is_still_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, inner: int, raised: type[Exception]
) -> None:
    """Copying a version without the right ends in an internal error about the refusal: trying it again is no use."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    with pytest.raises(raised, match="copy failed"), connected(SETTINGS, tmp_path):
        raise MlflowException("copy failed") from MlflowException("inner", error_code=inner)
