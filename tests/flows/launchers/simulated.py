"""The kubernetes launcher against an API server that breaks at a chosen moment: what its tests share."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubernetes import client

from benchmarks.parts.fake_api import Server
from benchmarks.parts.fake_cluster import FakeCluster
from flows.launchers.base import Ended, State, Work
from flows.launchers.kubernetes import KubernetesLauncher
from flows.launchers.names import name_of
from flows.launchers.settings import Api as Timing
from flows.launchers.settings import KubernetesSettings

TEMPLATE = Path(__file__).parents[3] / "k8s/stage-job.yaml"
WORK = Work("run-1", "generate", "00000-of-00002", 0, ("components.generate",), gpus=1)
NAME = name_of(WORK)
QUICK = Timing(patience=20, first_pause=0.02, longest_pause=0.2, watch_timeout=30)


def make(server: Server, timing: Timing = QUICK, **changes: Any) -> KubernetesLauncher:
    configuration = client.Configuration()
    configuration.host = server.url
    settings = KubernetesSettings(image="image", job_template=TEMPLATE, api=timing, **changes)
    return KubernetesLauncher(settings, configuration)


class Waiter:
    """Someone who waits, in a thread."""

    def __init__(self, launcher: KubernetesLauncher, handle: str = NAME) -> None:
        self.states: list[State] = []
        self.lines: list[str] = []
        self._result: list[Ended | Exception] = []
        self._thread = threading.Thread(target=self._wait, args=(launcher, handle), daemon=True)
        self._thread.start()

    def _wait(self, launcher: KubernetesLauncher, handle: str) -> None:
        try:
            self._result.append(launcher.wait(handle, self.states.append, self.lines.append))
        except Exception as error:  # noqa: BLE001  # it is raised where the test asks for it
            self._result.append(error)

    @property
    def waits(self) -> bool:
        return self._thread.is_alive()

    def ended(self, seconds: float = 20) -> Ended:
        self._thread.join(seconds)
        assert not self.waits, f"still waits; states {self.states}"
        if isinstance(self._result[0], Exception):
            raise self._result[0]
        return self._result[0]


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def submitted(launcher: KubernetesLauncher, cluster: FakeCluster) -> Waiter:
    launcher.submit(WORK)
    until(lambda: cluster.watching == 2)
    return Waiter(launcher)
