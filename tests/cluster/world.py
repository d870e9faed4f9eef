"""All that `align` needs around a cluster, real.

S3 through a proxy that can be cut, PostgreSQL, MLflow, Prefect with a kubernetes worker, a git server, a namespace as
k8s/ makes it, and an image of the code. Pods reach this machine at HOST.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from kubernetes import client

from tests.cluster.proxy import Proxy
from tests.k8s.manifests import ROOT
from tests.made import small_params
from tests.services import servers

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
            done = subprocess.run(
                command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=1800
            )
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
        for pod in self.flow_pods(run):
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

    def flow_pods(self, run: str) -> list[client.V1Pod]:
        """Of the flow itself."""
        label = f"prefect.io/flow-run-id={run}"
        return list(self.core.list_namespaced_pod(self.namespace, label_selector=label).items)

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
