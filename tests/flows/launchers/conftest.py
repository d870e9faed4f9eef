"""A simulated API server, and a launcher that talks to it."""

from collections.abc import Iterator

import pytest

from benchmarks.parts.fake_cluster import FakeCluster, Server
from flows.launchers.kubernetes import KubernetesLauncher
from tests.flows.launchers.simulated import make


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def server(cluster: FakeCluster) -> Iterator[Server]:
    made = Server(cluster).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def launcher(server: Server) -> Iterator[KubernetesLauncher]:
    with make(server) as made:
        yield made
