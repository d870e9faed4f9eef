"""prefect.yaml, as `prefect deploy` reads it."""

from datetime import timedelta
from typing import Any

import yaml
from prefect.cli.deploy._schedules import _schedule_config_to_deployment_schedule as schedule_of

from tests.made import REPOSITORY

DEPLOYMENTS = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]


def name_of(deployment: dict[str, Any]) -> str:
    return f"{deployment['entrypoint'].partition(':')[2]}/{deployment['name']}"


def test_nothing_starts_by_itself_but_the_reaper() -> None:
    scheduled = {name_of(one): one["schedules"] for one in DEPLOYMENTS if one["schedules"]}
    assert list(scheduled) == ["reap/cluster"]
    (schedule,) = [schedule_of(one) for one in scheduled["reap/cluster"]]
    assert schedule["schedule"].interval == timedelta(minutes=15)
    assert schedule.get("active", True)
