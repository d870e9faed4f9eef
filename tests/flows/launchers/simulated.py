"""The kubernetes launcher against an API server that breaks at a chosen moment: what its tests share."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubernetes import client

from benchmarks.parts.fake_api import Server
from benchmarks.parts.fake_cluster import FakeCluster
from flows.launchers.base import Work
from flows.launchers.kubernetes import KubernetesLauncher
from flows.launchers.names import name_of
from flows.launchers.settings import ApiSettings, KubernetesSettings
from tests.flows.launchers import waiter

TEMPLATE = Path(__file__).parents[3] / "k8s/stage-job.yaml"
WORK = Work("run-1", "generate", "00000-of-00002", 0, ("components.generate",), gpus=1)
NAME = name_of(WORK)
QUICK = ApiSettings(patience=20, first_pause=0.02, longest_pause=0.2, watch_timeout=30)


def make(server: Server, timing: ApiSettings = QUICK, **changes: Any) -> KubernetesLauncher:
    configuration = client.Configuration()
    configuration.host = server.url
    settings = KubernetesSettings(image="image", job_template=TEMPLATE, api=timing, **changes)
    return KubernetesLauncher(settings, configuration)


class Waiter(waiter.Waiter):
    """Waits for NAME, where everything is quick."""

    patience = 20.0

    def __init__(self, launcher: KubernetesLauncher, handle: str = NAME) -> None:
        super().__init__(launcher, handle)


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def submitted(launcher: KubernetesLauncher, cluster: FakeCluster) -> Waiter:
    launcher.submit(WORK)
    until(lambda: cluster.watching == 2)
    return Waiter(launcher)
