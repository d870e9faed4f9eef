"""What may happen to a run on a cluster, and when: a test's run goes through all of it."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.cluster.world import World, until

RESTART_API = "CLUSTER_RESTART_API"
"""Environment variable: the command that restarts the API server; without it that does not happen."""


class Faults:
    """Things that happen to a run, each when its time has come."""

    def __init__(self, here: World, run: str, store: str) -> None:
        self.here, self.run, self.store = here, run, store
        self.done: list[str] = []
        self._error: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def when(self, name: str, moment: Callable[[], object], strike: Callable[[], object]) -> None:
        """Wait for the moment in the background, then strike."""

        def due() -> bool:
            try:
                return bool(moment()) or self.here.state(self.run) == "COMPLETED"
            except Exception:  # noqa: BLE001  # another fault has a server away just now
                return False

        def work() -> None:
            try:
                until(due, 1500)
                for attempt in range(5):  # a pod that was there may be gone, or a server away by another fault
                    try:
                        if self.here.state(self.run) != "COMPLETED":
                            strike()
                            self.done.append(name)
                        break
                    except Exception:
                        if attempt == 4:
                            raise
                        time.sleep(1)
            except BaseException as error:  # noqa: BLE001  # told by the test
                self._error.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)

    def over(self) -> list[str]:
        """Names of what happened."""
        for thread in self._threads:
            thread.join(60)
        if self._error:
            raise self._error[0]
        return sorted(self.done)


class Strikes:
    """Every fault of one run of the project `name`; `blocker` is a pod that holds all GPUs."""

    def __init__(self, here: World, name: str, run: str, blocker: str) -> None:
        self.here, self.name, self.run, self.blocker = here, name, run, blocker
        self._s3 = here.s3.client()

    def all(self, faults: Faults) -> set[str]:
        """Let each happen when its time has come; their names."""
        here, published = self.here, "results/generate-"
        planned: list[tuple[str, Callable[[], object], Callable[[], None]]] = [
            ("GPU taken", lambda: here.pods("generate", "Pending"), self._free_gpus),
            ("pod deleted", lambda: here.pods("generate"), self._delete_a_pod),
            ("shard corrupted", lambda: any("publish-00001" in key for key in self.objects(published)), self._corrupt),
            ("flow killed", lambda: here.pods("score"), lambda: kill_flow(here, self.run)),
            ("S3 down", lambda: here.pods("train"), self._cut_s3),
            ("MLflow down", lambda: here.jobs("report"), self._stop_mlflow),
        ]
        if os.environ.get(RESTART_API):
            planned.append(("API server restarted", lambda: here.pods("evaluate"), self._restart_api))
        for name, moment, strike in planned:
            faults.when(name, moment, strike)
        return {name for name, _, _ in planned}

    def objects(self, prefix: str) -> list[str]:
        """Keys of the project's documents."""
        found = self._s3.list_objects_v2(Bucket=self.here.s3.bucket, Prefix=f"{self.name}/dp2o/{prefix}")
        return [entry["Key"] for entry in found.get("Contents", ())]

    def _free_gpus(self) -> None:
        time.sleep(5)
        self.here.core.delete_namespaced_pod(self.blocker, self.here.namespace, grace_period_seconds=0)

    def _delete_a_pod(self) -> None:
        (pod, *_) = self.here.pods("generate")
        self.here.core.delete_namespaced_pod(pod.metadata.name, self.here.namespace)

    def _corrupt(self) -> None:
        bucket = self.here.s3.bucket
        (key, *_) = [key for key in self.objects("results/generate-") if "publish-00001" in key]
        result = json.loads(self._s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        ((md5, size, _),) = [made for path, made in result["outputs"].items() if path.endswith(".tar")]
        self._s3.put_object(Bucket=bucket, Key=f"{self.name}/files/md5/{md5[:2]}/{md5[2:]}", Body=b"x" * size)

    def _cut_s3(self) -> None:
        self.here.proxy.cut()
        time.sleep(30)
        self.here.proxy.open()

    def _restart_api(self) -> None:
        command = os.environ[RESTART_API]
        subprocess.run(command, shell=True, check=True, capture_output=True, timeout=300)

    def _stop_mlflow(self) -> None:
        self.here.mlflow.stop()
        until(lambda: self.objects("runs/") and self.here.jobs("register"), 900)
        time.sleep(15)
        self.here.mlflow.again()


def take_all_gpus(here: World) -> str:
    """A pod with both GPUs."""
    container = {"name": "holder", "image": here.image, "command": ["sleep", "600"],
                 "resources": {"limits": {"nvidia.com/gpu": "2", "memory": "64Mi"}}}  # fmt: skip
    body = {"metadata": {"generateName": "other-team-"}, "spec": {"containers": [container], "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1}}  # fmt: skip
    quota = {"spec": {"hard": {"requests.nvidia.com/gpu": "4"}}}
    here.core.patch_namespaced_resource_quota("dp2o", here.namespace, quota)
    name = str(here.core.create_namespaced_pod(here.namespace, body).metadata.name)
    until(lambda: here.core.read_namespaced_pod(name, here.namespace).status.phase == "Running", 120)
    return name


def kill_flow(here: World, run: str) -> None:
    """Kill the flow's own process with SIGKILL, as too little memory does; its pod dies with it."""
    (pod,) = here.flow_pods(run)
    os.kill(min(_processes_of(str(pod.metadata.uid))), 9)
    until(lambda: len(here.flow_pods(run)) > 1, 120, lambda: here.story(run))  # Kubernetes makes another


def _processes_of(uid: str) -> list[int]:
    """Processes of a pod on this machine that run python, by their cgroup."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            cgroups, command = (folder / "cgroup").read_text(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if (uid in cgroups or uid.replace("-", "_") in cgroups) and b"python" in command:
            found.append(int(folder.name))
    return found
