"""A launcher that talks to the simulated API server."""

from collections.abc import Iterator

import pytest

from benchmarks.parts.fake_api import Server
from flows.launchers.kubernetes import KubernetesLauncher
from tests.flows.launchers.simulated import make


@pytest.fixture
def launcher(server: Server) -> Iterator[KubernetesLauncher]:
    with make(server) as made:
        yield made
