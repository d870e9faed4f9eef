import shutil
from pathlib import Path

import pytest

from components.settings import Settings
from tests.register.project import make_project


@pytest.fixture
def project(tmp_path: Path, empty_database: Path) -> tuple[Settings, Path]:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return make_project(tmp_path), tmp_path
