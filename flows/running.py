"""Names of flow runs that are at work, as JSON: `python -m flows.running`. Nothing is taken away from under them."""

from __future__ import annotations

import json

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType

AT_WORK = [StateType.RUNNING, StateType.CANCELLING]
"""A run that is paused or pending has no process, and reads everything anew when it goes on."""
AT_ONCE = 100


def running() -> list[str]:
    """Names of all."""
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=AT_WORK)))
    found: list[str] = []
    with get_client(sync_client=True) as prefect:
        while True:
            page = prefect.read_flow_runs(flow_run_filter=wanted, limit=AT_ONCE, offset=len(found))
            found += [f"{run.name} ({run.state_name})" for run in page]
            if len(page) < AT_ONCE:
                return found


if __name__ == "__main__":
    print(json.dumps(running()))
