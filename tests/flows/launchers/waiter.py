"""Someone who waits for work, in a thread: for tests of launchers, with a simulated API server and with a real one."""

import threading

from flows.launchers.base import Outcome, State
from flows.launchers.kubernetes import KubernetesLauncher


class Waiter:
    """Waits from its start on.

    Attributes:
        patience: seconds after which a test that asks for the end fails.
    """

    patience: float = 90.0

    def __init__(self, launcher: KubernetesLauncher, handle: str) -> None:
        self.states: list[State] = []
        self.lines: list[str] = []
        self._result: list[Outcome | Exception] = []
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

    def outcome(self, seconds: float | None = None) -> Outcome:
        self._thread.join(self.patience if seconds is None else seconds)
        assert not self.waits, f"still waits; states {self.states}"
        if isinstance(self._result[0], Exception):
            raise self._result[0]
        return self._result[0]
