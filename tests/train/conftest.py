"""The made project that a module's tests train on; they write their checkpoints elsewhere."""

from pathlib import Path

import pytest

from tests.train.rig import write_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("train")
    write_project(root)
    return root
