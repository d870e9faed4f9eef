"""A project in which all stages have run."""

import shutil
from pathlib import Path

import pytest

from components.errors import ExitCode
from tests.drawn import make_photos, run_through, write


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    make_photos(root)
    write(root, {})
    assert run_through(root) == ("register", ExitCode.OK)
    return root


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "project"))
