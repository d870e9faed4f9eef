from pathlib import Path

import pytest

from components.report.stage import run
from tests.report.project import build, settings


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder whose report is written."""
    root = build(tmp_path_factory.mktemp("project"), settings())
    run(settings(), root)
    return root
