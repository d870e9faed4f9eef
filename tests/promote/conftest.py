import shutil
from pathlib import Path

import mlflow
import pytest

from components.registry.versions import IDENTITY_TAG

DEV = "sr-dev"


@pytest.fixture
def client(tmp_path: Path, empty_database: Path) -> mlflow.MlflowClient:
    """Three versions in the development model, none in production."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    opened = mlflow.MlflowClient()
    opened.create_registered_model(DEV)
    for number in (1, 2, 3):
        opened.create_model_version(DEV, str(tmp_path / f"model{number}"), tags={IDENTITY_TAG: f"identity{number}"})
    return opened
