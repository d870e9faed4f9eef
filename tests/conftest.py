"""Fixtures that several components' tests share."""

import gc
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.made import tiny_model

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # So a shell starts what runs in the background, and children inherit it: tests of Ctrl-C would wait for nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)

gc.disable()  # until all is imported: looking through millions of objects that stay takes half of that time


def pytest_collection_finish() -> None:
    """What was imported is never looked through again."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: workers take whole files in this order, and a long one would end alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """accelerate keeps device and precision for the whole process: a test must not inherit another's."""
    yield
    if "accelerate" in sys.modules:  # importing it takes seconds
        sys.modules["accelerate"].state.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved TinyFlow with random weights."""
    folder = tmp_path_factory.mktemp("tiny_flow")
    tiny_model().save(folder)
    return folder


@pytest.fixture(scope="session")
def captioner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved BLIP with random weights."""
    from tests.prompts.made import write_captioner  # noqa: PLC0415  # transformers takes seconds to import

    folder = tmp_path_factory.mktemp("captioner")
    write_captioner(folder)
    return folder


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables: making them takes seconds, copying the file does not."""
    import mlflow  # noqa: PLC0415  # seconds to import

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    mlflow.set_tracking_uri(f"sqlite:///{path}")
    mlflow.MlflowClient().search_experiments()
    return path


@pytest.fixture(autouse=True, scope="module")
def no_configured_server() -> Iterator[None]:
    """A test's registry is its own, whatever server the user's environment names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield
