"""All that `align` needs around a cluster, real.

S3 through a proxy that can be cut, PostgreSQL, MLflow, Prefect with a kubernetes worker, a git server, a namespace as
k8s/ makes it, and an image of the code. Pods reach this machine at HOST.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml
from kubernetes import client

from tests.cluster.conftest import unavailable
from tests.cluster.images import ci_image, environment_folders
from tests.k8s.manifests import ROOT
from tests.made import small_params
from tests.services import servers

HOST = os.environ.get("CLUSTER_HOST", "10.200.0.1")
"""This machine as pods see it."""
POOL = "dp2o"
PHOTOS = ("cat", "cow", "crab", "owl", "bee", "bison")
QUICK: dict[str, dict[str, Any]] = {
    "prepare": {"crops_per_photo": 1, "split": {"align": 0.5, "validation": 0.2, "test": 0.3}},
    "backbone": {"steps": 2},
    "generate": {"candidates": 4, "shards": 2},
    "score": {"fr": [], "nr": ["rank_nss"], "held_out": ["psnr"]},
    "pair": {"top": 1},
    "train": {"steps": 4, "groups_per_step": 2, "micro_batch": 1, "warmup_steps": 1, "checkpoint_every": 1,
              "validate_every": 2, "validation_images": 2, "validation_seeds": 2},
    "evaluate": {"seeds": 2, "bootstrap": 100, "peers": ["bicubic"]},
}  # fmt: skip


class Proxy:
    """A TCP proxy that can refuse everything for a while."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._pairs: list[socket.socket] = []
        self.port = servers.free_port(HOST)
        self._listener: socket.socket | None = None
        self.open()

    def open(self) -> None:
        """Listen."""
        self._listener = socket.create_server((HOST, self.port), reuse_port=False)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Refuse new connections and end those there are."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for one in self._pairs:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                caller, _ = listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            self._pairs += [caller, server]
            for source, sink in ((caller, server), (server, caller)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@dataclass
class Mlflow:
    """A server that can be stopped and started again at the same place."""

    url: str
    start: Callable[[], Any]
    running: ExitStack = field(default_factory=ExitStack)

    def stop(self) -> None:
        """End it."""
        self.running.close()

    def again(self) -> None:
        """Start it."""
        self.running.enter_context(self.start())


@dataclass
class World:
    """Where everything is."""

    namespace: str
    image: str
    core: client.CoreV1Api
    batch: client.BatchV1Api
    s3: servers.S3
    proxy: Proxy
    mlflow: Mlflow
    prefect: dict[str, str]
    git: Path
    git_url: str
    folder: Path

    @property
    def storage(self) -> dict[str, str]:
        """What this process needs to reach S3."""
        return self.s3.environment

    def remote(self, name: str) -> str:
        """URL of a store of that name."""
        return f"s3://{self.s3.bucket}/{name}"

    def project(self, name: str) -> None:
        """A repository of the small project, its photos in its own store; branch main."""
        work = self.folder / f"{name}-first"
        work.mkdir()
        for entry in ("components", "presets"):
            shutil.copytree(ROOT / entry, work / entry, ignore=shutil.ignore_patterns("__pycache__"))
        for entry in ("dvc.yaml", ".dvcignore"):
            shutil.copy(ROOT / entry, work / entry)
        values = small_params()
        for block, changes in QUICK.items():
            values[block] |= changes
        (work / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
        (work / ".gitignore").write_text("__pycache__/\n/cache/\n")
        (work / "data/photos").mkdir(parents=True)
        for photo in PHOTOS:
            shutil.copy(ROOT / f"data/photos/{photo}.jpg", work / f"data/photos/{photo}.jpg")
        run = self.shell(work)
        run("git", "init", "-q", "-b", "main")
        run("git", "config", "user.email", "test@localhost")
        run("git", "config", "user.name", "test")
        run("dvc", "init", "-q")
        run("dvc", "remote", "add", "-q", "-d", "storage", self.remote(name))
        run("dvc", "remote", "modify", "storage", "endpointurl", self.storage["AWS_ENDPOINT_URL"])
        run("dvc", "add", "-q", "data/photos")
        run("dvc", "push", "-q")
        run("git", "add", "-A")
        run("git", "commit", "-qm", "project")
        run("git", "clone", "-q", "--bare", str(work), str(self.git / name))
        run("git", "-C", str(self.git / name), "config", "http.receivepack", "true")

    def clone(self, name: str, to: str) -> Path:
        """A fresh clone."""
        root = self.folder / to
        self.shell(self.folder)("git", "clone", "-q", str(self.git / name), str(root))
        self.shell(root)("git", "config", "user.email", "test@localhost")
        self.shell(root)("git", "config", "user.name", "test")
        return root

    def shell(self, root: Path) -> Callable[..., str]:
        """Runs commands in `root` that must succeed; their output."""
        environment = os.environ | self.storage | {"DVC_NO_ANALYTICS": "true", "PYTHONPATH": str(root)}

        def run(*command: str) -> str:
            done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
            return done.stdout

        return run

    def start(self, name: str, stages: list[str] | None = None, **launcher: Any) -> str:
        """A run of the deployment on the project `name`; its id."""
        given = {"kind": "kubernetes", "namespace": self.namespace,
                 "ttl": 300, "unschedulable_grace": 300,
                 "resources": {"default": {"cpu": "100m", "memory": "3Gi"}}}  # fmt: skip
        parameters = {
            "repository": f"{self.git_url}/{name}",
            "branch": "main",
            "stages": stages,
            "options": {
                "launcher": given | launcher,
                "store": self.remote(name),
                "concurrency": 2,
                "gpus": {"generate": 1, "score": 1, "train": 1, "evaluate": 1},
            },
        }
        deployment = self.api("GET", "/deployments/name/align/cluster")["id"]
        made = self.api("POST", f"/deployments/{deployment}/create_flow_run", {"parameters": parameters})
        return str(made["id"])

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """An answer of Prefect's API."""
        answer = httpx.request(method, f"{self.prefect['PREFECT_API_URL']}{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def state(self, run: str) -> str:
        """Type of a run's state."""
        return str(self.api("GET", f"/flow_runs/{run}")["state_type"])

    def ended(self, run: str, seconds: float = 900) -> str:
        """Type of the state that a run ends in."""
        until(
            lambda: self.state(run) in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}, seconds, lambda: self.log(run)
        )
        return self.state(run)

    def log(self, run: str) -> str:
        """What the run said."""
        query = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        lines: list[str] = []
        while True:
            page = self.api("POST", "/logs/filter", query | {"offset": len(lines)})
            lines += [entry["message"] for entry in page]
            if len(page) < 200:
                return "\n".join(lines)

    def story(self, run: str) -> str:
        """All that is known of a run, for a test that failed: its log, its own pods' logs, its states, the Jobs."""
        parts = [self.log(run)]
        pods = self.core.list_namespaced_pod(self.namespace, label_selector=f"prefect.io/flow-run-id={run}").items
        for pod in pods:
            with suppress(client.ApiException):
                text = self.core.read_namespaced_pod_log(pod.metadata.name, self.namespace, tail_lines=60)
                parts.append(f"--- {pod.metadata.name}, {pod.status.phase}\n{text}")
        states = self.api("GET", f"/flow_run_states/?flow_run_id={run}")
        parts += [f"{state['timestamp']} {state['name']}: {state['message']}" for state in states]
        parts += [
            f"{job.metadata.creation_timestamp} Job {job.metadata.name}, deleted {job.metadata.deletion_timestamp}"
            for job in self.jobs()
        ]
        return "\n".join(parts)

    def jobs(self, stage: str | None = None) -> list[client.V1Job]:
        """The stages' Jobs."""
        label = "dp2o.dev/run" + (f",dp2o.dev/stage={stage}" if stage else "")
        return list(self.batch.list_namespaced_job(self.namespace, label_selector=label).items)

    def pods(self, stage: str, phase: str = "Running") -> list[client.V1Pod]:
        """The stages' pods of a phase."""
        label = f"dp2o.dev/stage={stage}"
        found = self.core.list_namespaced_pod(self.namespace, label_selector=label).items
        return [pod for pod in found if pod.status.phase == phase]

    def lock(self, root: Path, but: tuple[str, ...] = ("report", "register")) -> dict[str, Any]:
        """Outputs by stage, of those whose bytes two runs share."""
        stages = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
        return {name: stage["outs"] for name, stage in stages.items() if name not in but}


def until(condition: Callable[[], object], seconds: float, explain: Callable[[], str] = lambda: "") -> None:
    """Wait for it; fail after so many seconds, with an explanation."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain\n{explain()[-6000:]}"
        time.sleep(0.5)


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
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def fresh() -> str:
    """A name that nothing has yet."""
    return f"run-{secrets.token_hex(4)}"
