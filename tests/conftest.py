"""Fixtures that several components' tests share."""

from pathlib import Path

import pytest

from tests.made import tiny_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved TinyFlow with random weights."""
    folder = tmp_path_factory.mktemp("tiny_flow")
    tiny_model().save(folder)
    return folder
