"""Starts all that `align` needs around a cluster, and makes the namespace ready for it."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from kubernetes import client

from tests.cluster.conftest import unavailable
from tests.cluster.images import ci_image, environment_folders
from tests.cluster.proxy import HOST, Proxy
from tests.cluster.world import Mlflow, World
from tests.k8s.manifests import ROOT
from tests.services import servers

POOL = "dp2o"


@contextmanager
def world(namespace: str, admin: client.ApiClient, folder: Path) -> Iterator[World]:
    """Start it all; everything is ended and removed afterwards."""
    for tool in ("git", "podman"):
        if shutil.which(tool) is None:
            unavailable(f"NO ALIGN ON THE CLUSTER: {tool} is not installed")
    core, batch = client.CoreV1Api(admin), client.BatchV1Api(admin)
    with ExitStack() as stack:
        own = stack.enter_context(servers.s3())
        parts = urlsplit(own.endpoint)
        proxy = Proxy((str(parts.hostname), int(parts.port or 80)))
        stack.callback(proxy.cut)
        s3 = servers.S3(f"http://{HOST}:{proxy.port}", own.key, own.secret, own.bucket)
        database = stack.enter_context(servers.postgres())
        for name in ("mlflow", "prefect"):
            database.create(name)
        mlflow = _mlflow(database.url("mlflow"), folder, s3)
        mlflow.again()
        stack.callback(mlflow.stop)
        prefect = stack.enter_context(servers.prefect(database.url("prefect", "+asyncpg"), folder, host=HOST))
        repositories = folder / "git"
        repositories.mkdir()
        port = servers.free_port(HOST)
        command = ["git", "daemon", "--reuseaddr", f"--listen={HOST}", f"--port={port}", f"--base-path={repositories}",
                   "--export-all", "--enable=receive-pack", str(repositories)]  # fmt: skip
        stack.enter_context(servers.process(command, folder / "git.log", lambda: _open(port)))
        image = ci_image("git", "libgl1", "libglib2.0-0")
        _in_namespace(core, namespace, s3, prefect.url, mlflow.url, image)
        environment = prefect.environment
        made = World(namespace, image, core, batch, s3, proxy, mlflow, environment, repositories,
                     f"git://{HOST}:{port}", folder)  # fmt: skip
        _deploy(made, folder)
        worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "kubernetes",
                  "--install-policy", "never", "--name", "tests"]  # fmt: skip
        log = folder / "worker.log"
        variables = environment | {"PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES": namespace,
                                   "PREFECT_WORKER_QUERY_SECONDS": "2"}  # fmt: skip
        stack.enter_context(
            servers.process(worker, log, lambda: "started" in log.read_text(errors="replace"), variables)
        )
        try:
            yield made
        finally:
            batch.delete_collection_namespaced_job(namespace, propagation_policy="Background")


def _mlflow(database: str, folder: Path, s3: servers.S3) -> Mlflow:
    port = servers.free_port(HOST)
    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--serve-artifacts",
               "--artifacts-destination", f"s3://{s3.bucket}/mlflow", "--host", HOST, "--port", str(port),
               "--workers", "1", "--allowed-hosts", f"{HOST}:{port}"]  # fmt: skip
    variables = s3.environment | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_TRACKING_URI": ""}
    ready = lambda: servers.answers(f"{url}/health")  # noqa: E731
    return Mlflow(url, lambda: servers.process(command, folder / "mlflow.log", ready, variables))


def _open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _in_namespace(
    core: client.CoreV1Api, namespace: str, s3: servers.S3, prefect: str, mlflow: str, image: str
) -> None:
    """Settings, secrets, quota and the Job template of this world."""
    settings = {
        "DP2O_COMPONENTS_IMAGE": image,
        "PREFECT_API_URL": prefect,
        "MLFLOW_TRACKING_URI": mlflow,
        "AWS_ENDPOINT_URL": s3.endpoint,
        "MLFLOW_S3_ENDPOINT_URL": s3.endpoint,
        "OMP_NUM_THREADS": "1",
        "DP2O_STORE_PATIENCE": "120",
    }
    core.patch_namespaced_config_map("dp2o-settings", namespace, {"data": settings})
    keys = {"AWS_ACCESS_KEY_ID": s3.key, "AWS_SECRET_ACCESS_KEY": s3.secret}
    core.create_namespaced_secret(namespace, {"metadata": {"name": "dp2o-s3"}, "stringData": keys})
    run = {"DP2O_RUN_KEY": secrets.token_hex(32)}  # a flow's pod that is made again knows its Jobs' results by it
    core.create_namespaced_secret(namespace, {"metadata": {"name": "dp2o-run"}, "stringData": run})
    quota = {"spec": {"hard": {"requests.nvidia.com/gpu": "2"}}}
    core.patch_namespaced_resource_quota("dp2o", namespace, quota)
    template = yaml.safe_load((ROOT / "k8s/stage-job.yaml").read_text())
    _mount_environment(template["spec"]["template"]["spec"])
    data = {"stage-job.yaml": yaml.safe_dump(template)}
    name = {"metadata": {"name": "dp2o-stage-job"}}
    try:
        core.create_namespaced_config_map(namespace, name | {"data": data})
    except client.ApiException as error:
        if error.status != 409:
            raise
        core.patch_namespaced_config_map("dp2o-stage-job", namespace, {"data": data})


def _mount_environment(pod: dict[str, Any]) -> None:
    """The folders of this environment, read-only, where the image of the code expects them."""
    for number, path in enumerate(environment_folders()):
        name = f"environment-{number}"
        pod["volumes"].append({"name": name, "hostPath": {"path": str(path), "type": "Directory"}})
        mount = {"name": name, "mountPath": str(path), "readOnly": True}
        pod["containers"][0]["volumeMounts"].append(mount)


def _deploy(made: World, folder: Path) -> None:
    """The work pool with our template, and the deployment of prefect.yaml."""
    template = json.loads((ROOT / "k8s/prefect-base-job-template.json").read_text())
    _mount_environment(template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"])
    for name, value in {"namespace": made.namespace, "priority_class_name": "system-node-critical"}.items():
        template["variables"]["properties"][name]["default"] = value
    path = folder / "template.json"
    path.write_text(json.dumps(template))
    variables = os.environ | made.prefect | {
        "DP2O_REPOSITORY": made.git_url, "DP2O_BRANCH": "main", 
        "DP2O_FLOW_IMAGE": made.image, "DP2O_PROJECT": str(ROOT)}  # fmt: skip
    for command in (
        ["work-pool", "create", POOL, "--type", "kubernetes", "--base-job-template", str(path)],
        ["deploy", "--name", "align/cluster"],
    ):
        done = subprocess.run([sys.executable, "-m", "prefect", "--no-prompt", *command], cwd=ROOT, env=variables,
                              capture_output=True, text=True, check=False, timeout=1800)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
