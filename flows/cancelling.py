"""How a flow's process ends its work: by a cancelling that reaches it one way or another, and by a node's drain.

Prefect's runner hears of a cancelling by an event, and stops the flow's process with SIGTERM. It asks for nothing while
the stream of events is connected: an event that is lost, or comes before the process is known, is never noticed
(prefect 3.8.8, `FlowRunCancellingObserver`). So whoever has work running asks for the run's state as well.

A drain of the pod's node is a SIGTERM, too. The run then goes on in another pod, and its Jobs are left for that one.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from uuid import UUID

from httpx import HTTPError
from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Abort, PrefectException, TerminationSignal
from prefect.states import Cancelled

from flows.launchers.base import Launcher

logger = logging.getLogger("dp2o.flows")

EVERY = 5.0
"""Seconds between two questions: a cancelled run's Jobs are deleted within so many, and the API server's time."""
LAST_QUESTIONS = 3
"""Times that the state is asked for after a SIGTERM: nobody waits for long then."""
DELETED_WITHIN = 20.0
"""Seconds that a deletion under way is waited for; a process that is cancelled is killed after 30."""


def this_run() -> str:
    """Id of the run whose process this is: of a flow within a flow the outer one's, which is what is started again."""
    return str(runtime.flow_run.root_flow_run_id or os.getpid())


def flow_name() -> str:
    """Of the flow whose process this is."""
    return str(runtime.flow_run.flow_name or "flow")


@contextmanager
def ended_with_the_run(launcher: Launcher, leave: Callable[[], None] | None = None) -> Iterator[None]:
    """Close the launcher in the end, and as soon as Prefect says that the run is cancelled.

    Args:
        launcher: whose work is this run's.
        leave: closes it and lets its work go on, where that outlives this process.

    Raises:
        Abort: the run was cancelled, as Prefect's page then says.
    """
    run = this_run()
    watch = _Watch(launcher, run) if runtime.flow_run.id else None
    end: Callable[[], None] = partial(_end, launcher, run)
    error: Exception | None = None
    try:
        yield
    except TerminationSignal:
        if leave is not None and watch is not None and not watch.is_cancelled():
            logger.warning("this process must go, and its run was not cancelled: the run's work goes on")
            end = leave
        raise
    except Exception as raised:  # noqa: BLE001  # raised again below, unless it only says that all was cancelled
        error = raised
    finally:
        try:
            end()
        except TerminationSignal:  # the runner's word came, later than the answer to our own question
            _end(launcher, run)
            raise
        finally:
            if watch is not None:
                watch.stop()
    if watch is not None:
        watch.conclude()
    if error is not None:
        raise error


def _end(launcher: Launcher, run: str) -> None:
    launcher.sweep(run)
    launcher.close()


class _Watch:
    """Asks for the state of this flow's run, and of the one that it is part of."""

    def __init__(self, launcher: Launcher, run: str) -> None:
        self._launcher, self._run = launcher, run
        self._runs = [UUID(name) for name in dict.fromkeys([run, str(runtime.flow_run.id)])]
        self._over = threading.Event()
        self._seen: set[UUID] = set()
        # The settings (which server) are context variables; a thread starts without its parent's.
        self._thread = threading.Thread(target=copy_context().run, args=(self._ask,), name="cancelling", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()
        self._thread.join(DELETED_WITHIN)

    def is_cancelled(self) -> bool:
        """Whether the run is, asked now; no if Prefect does not say."""
        with get_client(sync_client=True) as client:
            for _ in range(LAST_QUESTIONS):
                try:
                    return bool(self._cancelled(client))
                except (HTTPError, PrefectException) as error:
                    logger.warning("Prefect does not say whether the run is cancelled: %s", error)
        return False

    def conclude(self) -> None:
        """Say to Prefect that the run is cancelled, if that was seen here, and nobody else will."""
        outermost = self._runs[0]
        if outermost not in self._seen:
            return  # at most a flow within one that goes on: what it waited for has failed as Cancelled
        with get_client(sync_client=True) as client:
            for run in reversed(self._runs):
                state = client.read_flow_run(run).state
                if state is None or not state.is_final():
                    client.set_flow_run_state(run, Cancelled(message="Cancelled; its work was stopped."))
        raise Abort("the run was cancelled")

    def _ask(self) -> None:
        with get_client(sync_client=True) as client:
            while True:
                try:
                    self._seen |= self._cancelled(client)
                except (HTTPError, PrefectException) as error:
                    logger.info("Prefect does not say whether the run is cancelled: %s; asked again", error)
                if self._seen:
                    logger.warning("the run is cancelled: its work is stopped")
                    _end(self._launcher, self._run)
                    return
                if self._over.wait(EVERY):
                    return

    def _cancelled(self, client: SyncPrefectClient) -> set[UUID]:
        return {run for run in self._runs if _is_cancelled(client.read_flow_run(run).state)}


def _is_cancelled(state: State | None) -> bool:
    return state is not None and (state.is_cancelling() or state.is_cancelled())
