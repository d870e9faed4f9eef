"""A simulated API server of Kubernetes, and a real one of Prefect."""

from collections.abc import Iterator

import pytest
from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from benchmarks.parts.fake_api import Server
from benchmarks.parts.fake_cluster import FakeCluster


@pytest.fixture(scope="package")
def prefect() -> Iterator[None]:
    with (
        temporary_settings({PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 180}),
        prefect_test_harness(server_startup_timeout=180),
    ):
        yield


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def server(cluster: FakeCluster) -> Iterator[Server]:
    made = Server(cluster).start()
    yield made
    made.shutdown()
    made.server_close()
