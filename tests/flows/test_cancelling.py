"""How a flow's process ends its work, with a real Prefect server and an API server of Kubernetes in memory.

No runner is there that could hear of an event: what a run learns of its cancelling, it has asked for.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from uuid import UUID

import pytest
from httpx import ConnectError
from prefect import flow, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import Abort, TerminationSignal
from prefect.states import Cancelling

from benchmarks.parts.fake_api import Server
from benchmarks.parts.fake_cluster import FakeCluster
from components.redaction import scrubbed
from flows import cancelling as module
from flows.cancelling import ended_with_the_run, this_run
from flows.fence import Fence, fenced, present
from flows.launchers.base import Failure, Launcher, Outcome
from tests.flows.launchers.simulated import WORK, make, until

pytestmark = pytest.mark.usefixtures("prefect")


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.2)


@contextmanager
def launching(server: Server) -> Iterator[Launcher]:
    made = make(server)
    with ended_with_the_run(made, leave=partial(made.close, delete=False)):
        yield made


def waited(launcher: Launcher) -> Outcome:
    """How one Job of this run ends that never ends by itself."""
    return launcher.wait(launcher.submit(replace(WORK, run=this_run())))


def ask_to_cancel(run: str) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(run), Cancelling())


def state_of(run: str) -> StateType:
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(run)).state
    assert state is not None
    return state.type


def once_it_runs(cluster: FakeCluster, strike: Callable[[], object]) -> threading.Thread:
    """Strike when a Job is there."""

    def work() -> None:
        until(lambda: cluster.objects["jobs"], 30)
        strike()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_cancelling_that_nobody_tells_the_flow_ends_its_jobs(cluster: FakeCluster, server: Server) -> None:
    runs: list[str] = []

    @flow
    def trains() -> None:
        runs.append(this_run())
        once_it_runs(cluster, partial(ask_to_cancel, runs[0]))
        with launching(server) as launcher:
            assert waited(launcher).failure is Failure.CANCELLED
            raise RuntimeError("as who waited for it")

    with pytest.raises(Abort, match="the run was cancelled"):
        trains()
    assert cluster.objects["jobs"] == {}
    assert state_of(runs[0]) is StateType.CANCELLED


def test_the_question_is_asked_again_when_prefect_was_away(
    cluster: FakeCluster, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = module._Watch._cancelled
    away = [ConnectError("away")] * 3

    def sometimes(self: module._Watch, client: object) -> set[UUID]:
        if away:
            raise away.pop()
        return asked(self, client)  # type: ignore[arg-type]

    monkeypatch.setattr(module._Watch, "_cancelled", sometimes)

    @flow
    def trains() -> None:
        ask_to_cancel(this_run())
        with launching(server) as launcher:
            waited(launcher)

    with pytest.raises(Abort):
        trains()
    assert not away
    assert cluster.objects["jobs"] == {}


def test_a_flow_within_one_that_is_cancelled_ends_as_well(cluster: FakeCluster, server: Server) -> None:
    runs: list[str] = []

    @flow
    def inner() -> None:
        runs.append(str(runtime.flow_run.id))
        with launching(server) as launcher:
            waited(launcher)

    @flow
    def outer() -> None:
        runs.append(this_run())
        once_it_runs(cluster, partial(ask_to_cancel, runs[0]))
        inner()

    with pytest.raises(Abort):
        outer()
    assert runs[0] != runs[1]
    assert [state_of(run) for run in runs] == [StateType.CANCELLED] * 2
    assert cluster.objects["jobs"] == {}


def test_a_flow_within_one_that_goes_on_can_be_cancelled_alone(cluster: FakeCluster, server: Server) -> None:
    @flow
    def inner() -> None:
        once_it_runs(cluster, partial(ask_to_cancel, str(runtime.flow_run.id)))
        with launching(server) as launcher:
            raise RuntimeError(str(waited(launcher).failure))

    @flow
    def outer() -> str:
        with pytest.raises(RuntimeError, match="Cancelled"):
            inner()
        return "goes on"

    assert outer() == "goes on"
    assert cluster.objects["jobs"] == {}


@pytest.mark.parametrize("cancelled", [True, False])
def test_sigterm_deletes_the_jobs_of_a_cancelled_run_alone(
    cluster: FakeCluster, server: Server, monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    monkeypatch.setattr(module._Watch, "_ask", lambda self: None)  # Prefect's own word is first

    def terminate(run: str) -> None:
        if cancelled:
            ask_to_cancel(run)
        os.kill(os.getpid(), signal.SIGTERM)

    @flow
    def trains() -> None:
        once_it_runs(cluster, partial(terminate, this_run()))
        with launching(server) as launcher:
            waited(launcher)

    before = signal.signal(signal.SIGTERM, lambda *_: None)  # Prefect passes it on to who was there first
    try:
        with pytest.raises(TerminationSignal):
            trains()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(cluster.objects["jobs"]) == (0 if cancelled else 1)


def test_outside_a_run_of_prefect_all_is_ended(cluster: FakeCluster, server: Server) -> None:
    with launching(server) as launcher:
        launcher.submit(replace(WORK, run=this_run()))
        assert len(cluster.objects["jobs"]) == 1
    assert cluster.objects["jobs"] == {}


def test_a_flow_within_commits_as_the_same_holder_and_a_failed_one_shows_no_password() -> None:
    seen: list[Fence | None] = []

    @flow
    def inner() -> None:
        seen.append(present())

    @flow
    def outer() -> None:
        with scrubbed(), fenced(Fence(5, lambda: None)):
            inner()
            raise RuntimeError("no answer from http://ada:secret-word@host")

    state = outer(return_state=True)
    assert [fence and fence.number for fence in seen] == [5]
    assert "http://ada:***@host" in str(state.message)
    assert "secret-word" not in state.model_dump_json(exclude={"data"})
