"""Prefect's kubernetes worker lives with the rights of dp2o-worker, and starts flows from our base job template."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
import yaml
from kubernetes import client

from tests.cluster.test_rbac import admin, as_account, namespace, served  # noqa: F401  # fixtures
from tests.k8s.manifests import ROOT
from tests.services import servers

TEMPLATE = ROOT / "k8s" / "prefect-base-job-template.json"
WORKER = [sys.executable, *["-m", "prefect", "worker", "start", "--pool", "dp2o", "--type", "kubernetes"],
          *["--no-create-pool-if-not-found", "--install-policy", "never"]]  # fmt: skip
Found = TypeVar("Found")
NOWHERE = "127.0.0.1:1/dp2o/flow@sha256:" + "0" * 64


def _wait_for(what: str, look: Callable[[], Found], seconds: float = 120) -> Found:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"{what} did not come in {seconds:g} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process of ours and its children; the worker does not listen to SIGTERM while it polls."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Prefect server; the environment in which commands find it."""
    folder = tmp_path_factory.mktemp("prefect")
    with servers.postgres() as database:
        database.create("prefect")
        with servers.prefect(database.url("prefect", "+asyncpg"), folder) as server:
            yield os.environ | server.environment | {"PREFECT_WORKER_QUERY_SECONDS": "2", "NO_COLOR": "1"}


def _kubeconfig(path: Path, api: client.ApiClient) -> Path:
    """A kubeconfig with an account's token and nothing else."""
    configuration = api.configuration
    cluster = {"server": configuration.host, "certificate-authority": configuration.ssl_ca_cert}
    token = configuration.api_key["authorization"].removeprefix("Bearer ")
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "it",
                "clusters": [{"name": "it", "cluster": cluster}],
                "users": [{"name": "it", "user": {"token": token}}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            }
        )
    )
    path.chmod(0o600)
    return path


def test_starts_a_flow_and_tells_of_its_pod_without_a_refusal(
    prefect: dict[str, str],
    namespace: str,  # noqa: F811
    admin: client.ApiClient,  # noqa: F811
    as_account: Callable[[str], client.ApiClient],  # noqa: F811
    tmp_path: Path,
) -> None:
    _make_pool(prefect)
    # no container of this flow ever starts: its image is nowhere, and what is looked at is the worker
    run = _flow_run(
        prefect["PREFECT_API_URL"],
        {"namespace": namespace, "image": NOWHERE, "priority_class_name": "system-node-critical"},
    )
    environment = prefect | {
        "KUBECONFIG": str(_kubeconfig(tmp_path / "kubeconfig", as_account("dp2o-worker"))),
        "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES": namespace,
    }
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(WORKER, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        batch = client.BatchV1Api(admin)
        jobs = lambda: batch.list_namespaced_job(namespace, label_selector=f"prefect.io/flow-run-id={run}").items  # noqa: E731
        (job,) = _wait_for("the flow's Job", jobs)
        assert job.spec.template.spec.service_account_name == "dp2o-flow"
        assert job.spec.template.metadata.labels["dp2o.dev/role"] == "flow"
        pods = _wait_for(
            "its pod",
            lambda: (
                client.CoreV1Api(admin)
                .list_namespaced_pod(namespace, label_selector=f"job-name={job.metadata.name}")
                .items
            ),
        )
        assert pods[0].spec.containers[0].security_context.read_only_root_filesystem is True
        _wait_for("an event of the pod in Prefect", lambda: _events(prefect["PREFECT_API_URL"], run))
    finally:
        _stop(worker)
        print(log.read_text())
    # a word of its own: an id of the worker or of a run may hold these digits
    refused = [line for line in log.read_text().splitlines() if re.search(r"forbidden|\b403\b", line, re.IGNORECASE)]
    assert not refused


def _make_pool(prefect: dict[str, str]) -> None:
    """As the worker's first container does; twice, as at a restart."""
    command = [sys.executable, "-m", "prefect", "work-pool", "create", "dp2o", "--type", "kubernetes", "--overwrite"]
    for _ in range(2):
        done = subprocess.run(
            [*command, "--base-job-template", str(TEMPLATE)],
            env=prefect,
            capture_output=True,
            text=True,
            check=False,
            timeout=1800,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    pool = httpx.get(f"{prefect['PREFECT_API_URL']}/work_pools/dp2o").json()
    assert pool["base_job_template"]["job_configuration"] == json.loads(TEMPLATE.read_text())["job_configuration"]


def _flow_run(api: str, variables: dict[str, str]) -> str:
    """A scheduled run of a deployment in the pool."""
    with httpx.Client(base_url=api) as http:
        flow = http.post("/flows/", json={"name": "looked-at"}).raise_for_status().json()["id"]
        body = {
            "name": "it",
            "flow_id": flow,
            "work_pool_name": "dp2o",
            "entrypoint": "none.py:none",
            "job_variables": variables,
        }
        deployment = http.post("/deployments/", json=body).raise_for_status().json()["id"]
        made = http.post(f"/deployments/{deployment}/create_flow_run", json={}).raise_for_status().json()
    return str(made["id"])


def _events(api: str, run: str) -> list[object]:
    """Events of the flow run's pod that the worker's observer has told the server."""
    query = {
        "filter": {"event": {"prefix": ["prefect.kubernetes.pod"]}, "related": {"id": [f"prefect.flow-run.{run}"]}}
    }
    return list(httpx.post(f"{api}/events/filter", json=query).raise_for_status().json()["events"])
