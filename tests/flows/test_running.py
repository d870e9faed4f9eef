"""Which runs are at work, by a real Prefect server."""

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Completed, Paused, Running

from components.cleaning.running import VARIABLE, running_flows
from components.errors import ResumeLater
from flows.running import running


@flow
def works() -> None:
    """A run to ask about."""


@pytest.mark.usefixtures("prefect")
def test_those_that_run_are_named_and_no_others() -> None:
    with get_client(sync_client=True) as client:
        made = [client.create_flow_run(works, name=name, state=state) for name, state in
                (("blue", Running()), ("red", Completed()), ("waits", Paused()))]  # fmt: skip
        assert [name for name in running() if name.split()[0] in {"blue", "red", "waits"}] == ["blue (Running)"]
        client.set_flow_run_state(made[0].id, Completed(), force=True)
        assert not [name for name in running() if name.startswith("blue")]


def test_a_server_that_cannot_say_stops_a_removal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.cleaning.running.SECONDS", 0.01)
    monkeypatch.setenv(VARIABLE, "http://127.0.0.1:1/api")
    with pytest.raises(ResumeLater, match="cannot say which runs are at work"):
        running_flows()
    monkeypatch.delenv(VARIABLE)
    assert running_flows() == []
