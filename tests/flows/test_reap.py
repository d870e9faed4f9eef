"""What the reaper takes and what it leaves, with a real Prefect server and an API server in memory."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from kubernetes import client
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Cancelling, Running

from benchmarks.parts.fake_api import Server
from benchmarks.parts.fake_cluster import FakeCluster
from flows import reap as module
from flows.launchers.base import Work
from flows.launchers.job_template import job_for, read_template
from flows.launchers.names import name_of
from flows.launchers.settings import KubernetesSettings

TEMPLATE = Path(__file__).parents[2] / "k8s/stage-job.yaml"


@flow
def does_nothing() -> None:
    """A run to belong to."""


@pytest.fixture
def kubeconfig(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> client.Configuration:
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": server.url}}],
        "contexts": [context],
        "users": [{"name": "x", "user": {}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    configuration = client.Configuration()
    configuration.host = server.url
    return configuration


def add(cluster: FakeCluster, run: str, age: timedelta) -> str:
    """A Job of that run."""
    settings = KubernetesSettings(image="image", job_template=TEMPLATE)
    work = Work(run, "generate", "whole", 0, ("components.generate",))
    cluster.create_job(job_for(work, read_template(TEMPLATE), settings, "launcher"))
    created = datetime.now(UTC) - age
    cluster.objects["jobs"][name_of(work)]["metadata"]["creationTimestamp"] = f"{created:%Y-%m-%dT%H:%M:%SZ}"
    return name_of(work)


def finished_run() -> str:
    state = does_nothing(return_state=True)
    assert state.state_details.flow_run_id is not None
    return str(state.state_details.flow_run_id)


def living_run(state: State | None = None) -> str:
    """One that runs, or is in another state since just now."""
    with get_client(sync_client=True) as prefect_client:
        run = prefect_client.create_flow_run(does_nothing, state=Running())
        if state is not None:
            prefect_client.set_flow_run_state(run.id, state)
    return str(run.id)


def test_takes_what_nobody_waits_for_and_leaves_the_rest(
    prefect: None, cluster: FakeCluster, kubeconfig: client.Configuration
) -> None:
    minute = timedelta(minutes=1)
    ended = add(cluster, finished_run(), minute)
    living = add(cluster, living_run(), timedelta(hours=3))
    unknown = add(cluster, str(uuid4()), timedelta(hours=2))
    unknown_and_new = add(cluster, str(uuid4()), minute)
    by_hand = add(cluster, "tried by hand", timedelta(hours=2))
    ancient = add(cluster, living_run(), timedelta(hours=200))
    cluster.pod(ended, phase="Running")
    foreign = {"metadata": {"name": "foreign", "labels": {"app": "x"}}, "spec": {}}
    cluster.create_job(foreign)

    would = module.reap(minutes_after_end=0, dry_run=True)
    assert len(cluster.objects["jobs"]) == 7
    assert module.reap(minutes_after_end=60).keys() == {unknown, by_hand, ancient}
    assert module.reap(minutes_after_end=0).keys() == {ended}
    assert would.keys() == {ended, unknown, by_hand, ancient}
    assert would[ended].startswith("its run ended as Completed")
    assert would[unknown] == "Prefect does not know its run, and it is 2.0 h old"
    assert would[ancient] == "it is 200.0 h old, and no run takes longer than 120.0 h"
    assert cluster.objects["jobs"].keys() == {living, unknown_and_new, "foreign"}
    assert cluster.objects["pods"] == {}
    assert module.reap() == {}


def test_a_cancelled_runs_jobs_go_at_once_and_those_of_one_that_hangs_in_it_after_a_while(
    prefect: None, cluster: FakeCluster, kubeconfig: client.Configuration
) -> None:
    minute = timedelta(minutes=1)
    cancelled = add(cluster, living_run(Cancelled()), minute)
    cancelling = add(cluster, living_run(Cancelling()), minute)
    assert module.reap(minutes_after_end=60).keys() == {cancelled}
    reasons = module.reap(minutes_after_end=0)
    assert reasons == {cancelling: "its run is being cancelled for 0.0 h, and its process is gone"}


def test_nothing_is_deleted_when_prefect_does_not_answer(
    cluster: FakeCluster, kubeconfig: client.Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = add(cluster, str(uuid4()), timedelta(hours=200))

    def refuse(_: object) -> None:
        raise ConnectionError("Prefect is away")

    monkeypatch.setattr(module, "known_runs", refuse)
    limits = module.Limits(timedelta(0), timedelta(0), timedelta(0))
    with pytest.raises(ConnectionError, match="Prefect is away"):
        module.reap_jobs("dp2o", limits, dry_run=False)
    assert list(cluster.objects["jobs"]) == [name]


def test_a_job_made_anew_under_the_same_name_is_left(cluster: FakeCluster, kubeconfig: client.Configuration) -> None:
    name = add(cluster, str(uuid4()), timedelta(hours=1))
    seen = dict(cluster.objects["jobs"][name], metadata={**cluster.objects["jobs"][name]["metadata"], "uid": "before"})
    assert module.delete(module.Api(module.ApiSettings(), kubeconfig), "dp2o", seen) is False
    assert name in cluster.objects["jobs"]
