"""The whole of `align` on a real cluster: by a deployment, stages as Jobs, data in S3, metrics in MLflow.

Everything around it is real as well (tests/cluster/world.py). The disturbed run goes through one fault after another
and has to end in the same bytes as the undisturbed one.
"""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from flows.launchers.api import Api
from flows.launchers.settings import Api as Timing
from tests.cluster.surroundings import world
from tests.cluster.test_rbac import admin, mounting_namespace, served  # noqa: F401  # fixtures
from tests.cluster.world import World, until

pytestmark = pytest.mark.slow
SMALL = 400_000
"""Bytes: listings, results, logs and reports of this project; one image shard of it is larger."""


@pytest.fixture(scope="module")
def here(
    admin: client.ApiClient,  # noqa: F811
    mounting_namespace: str,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    folder.chmod(0o755)
    with world(mounting_namespace, admin, folder) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(here: World) -> Path:
    """A fresh clone after a run through the deployment."""
    here.project("calm")
    run = here.start("calm")
    gpus: set[str] = set()

    def watched() -> bool:
        for job in here.jobs():
            limits = job.spec.template.spec.containers[0].resources.limits or {}
            if "nvidia.com/gpu" in limits:
                gpus.add(job.metadata.labels["dp2o.dev/stage"])
        return here.state(run) in {"COMPLETED", "FAILED", "CRASHED"}

    until(watched, 1200, lambda: here.log(run))
    assert here.state(run) == "COMPLETED", here.log(run)[-6000:]
    assert gpus == {"generate", "score", "train", "evaluate"}
    assert not here.jobs(), "Jobs are left"
    root = here.clone("calm", "calm-clone")
    (root / "run").write_text(run)
    return root


def test_a_fresh_clone_has_everything_and_nothing_to_do(here: World, undisturbed: Path) -> None:
    shell = here.shell(undisturbed)
    shell("dvc", "pull", "-q")
    assert json.loads(shell("dvc", "status", "--json")) == {}
    assert "Running stage" not in shell("dvc", "repro", "--dry")
    assert (undisturbed / "reports/index.html").stat().st_size > 100_000
    assert (undisturbed / "models/aligned/best/model.safetensors").is_file()
    evaluation = json.loads((undisturbed / "reports/evaluation.json").read_text())
    assert {"psnr", "rank_nss"} <= set(evaluation["metrics"])


def test_no_image_passes_through_the_flow(here: World, undisturbed: Path) -> None:
    artifacts = here.api("POST", "/artifacts/filter", {"artifacts": {"key": {"any_": ["align"]}}})
    assert artifacts
    run = (undisturbed / "run").read_text()
    (line,) = [line for line in here.log(run).splitlines() if line.startswith("bytes through the flow: ")]
    through = json.loads(line.removeprefix("bytes through the flow: "))
    assert 0 < sum(through.values()) < SMALL
    images = [path for path in undisturbed.rglob("*.tar") if ".dvc" not in path.parts]
    assert sum(path.stat().st_size for path in images) > SMALL


def test_metrics_and_model_are_in_mlflow(here: World, undisturbed: Path) -> None:
    from mlflow import MlflowClient  # noqa: PLC0415

    registration = json.loads((undisturbed / "reports/registration.json").read_text())
    server = MlflowClient(here.mlflow.url)
    version = server.get_model_version_by_alias(registration["model"], "candidate")
    assert int(version.version) == registration["version"]
    head = here.shell(undisturbed)("git", "rev-parse", "HEAD~1").strip()
    assert version.tags["dp2o.git_commit"] == head
    assert version.tags["dp2o.git_dirty"] == "false"
    assert len(server.get_metric_history(registration["run_id"], "training/loss")) == 4


def test_an_edit_of_pair_reruns_from_pair(here: World, undisturbed: Path) -> None:
    del undisturbed
    root = here.clone("calm", "calm-edit")
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["pair"]["intra_weights"] = False
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    shell = here.shell(root)
    shell("git", "commit", "-qam", "pairs without weights")
    shell("git", "push", "-q")
    run = here.start("calm", ["prepare", "generate", "score", "pair"])
    assert here.ended(run) == "COMPLETED", here.log(run)[-4000:]
    shell("git", "pull", "-q")
    assert shell("git", "log", "-1", "--format=%s").strip() == "align: pair"


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


def test_a_run_with_every_fault_gives_the_same_bytes(here: World, undisturbed: Path) -> None:  # noqa: PLR0915
    here.project("rough")
    blocker = _takes_all_gpus(here)
    run = here.start("rough")
    faults = Faults(here, run, here.remote("rough"))
    s3 = here.s3.client()

    def objects(prefix: str) -> list[str]:
        found = s3.list_objects_v2(Bucket=here.s3.bucket, Prefix=f"rough/dp2o/{prefix}")
        return [entry["Key"] for entry in found.get("Contents", ())]

    def free_gpus() -> None:
        time.sleep(5)
        here.core.delete_namespaced_pod(blocker, here.namespace, grace_period_seconds=0)

    def delete_a_pod() -> None:
        (pod, *_) = here.pods("generate")
        here.core.delete_namespaced_pod(pod.metadata.name, here.namespace)

    def corrupt_a_shard() -> None:
        (key, *_) = [key for key in objects("results/generate-") if "publish-00001" in key]
        result = json.loads(s3.get_object(Bucket=here.s3.bucket, Key=key)["Body"].read())
        ((md5, size),) = [made for path, made in result["outputs"].items() if path.endswith(".tar")]
        place = f"rough/files/md5/{md5[:2]}/{md5[2:]}"
        s3.put_object(Bucket=here.s3.bucket, Key=place, Body=b"x" * size)

    def kill_the_flow() -> None:
        _kill_flow(here, run)

    def cut_s3() -> None:
        here.proxy.cut()
        time.sleep(30)
        here.proxy.open()

    def restart_api() -> None:
        command = os.environ.get("CLUSTER_RESTART_API")
        assert command, "CLUSTER_RESTART_API is not set"
        subprocess.run(command, shell=True, check=True, capture_output=True, timeout=300)

    def stop_mlflow() -> None:
        here.mlflow.stop()
        until(lambda: objects("runs/") and here.jobs("register"), 900)
        time.sleep(15)
        here.mlflow.again()

    faults.when("GPU taken", lambda: here.pods("generate", "Pending"), free_gpus)
    faults.when("pod deleted", lambda: here.pods("generate"), delete_a_pod)
    faults.when("shard corrupted", lambda: objects("results/generate-") and any(
        "publish-00001" in key for key in objects("results/generate-")), corrupt_a_shard)  # fmt: skip
    faults.when("flow killed", lambda: here.pods("score"), kill_the_flow)
    faults.when("S3 down", lambda: here.pods("train"), cut_s3)
    if os.environ.get("CLUSTER_RESTART_API"):
        faults.when("API server restarted", lambda: here.pods("evaluate"), restart_api)
    faults.when("MLflow down", lambda: here.jobs("report"), stop_mlflow)
    until(lambda: here.state(run) in {"COMPLETED", "FAILED", "CANCELLED"}, 2400, lambda: here.log(run))
    assert here.state(run) == "COMPLETED", here.log(run)[-8000:]
    happened = faults.over()
    expected = {"GPU taken", "pod deleted", "shard corrupted", "flow killed", "S3 down", "MLflow down"}
    if os.environ.get("CLUSTER_RESTART_API"):
        expected.add("API server restarted")
    assert set(happened) == expected
    assert not here.jobs(), "Jobs are left"
    root = here.clone("rough", "rough-clone")
    here.shell(undisturbed)("git", "checkout", "-q", "HEAD")
    assert here.lock(root) == here.lock(undisturbed)
    assert objects("corrupt/"), "the damaged object was not set aside"
    here.shell(root)("dvc", "pull", "-q")
    assert json.loads(here.shell(root)("dvc", "status", "--json")) == {}


def test_too_little_memory_has_a_name_and_a_way_out(here: World, undisturbed: Path) -> None:
    here.project("tight")
    little: dict[str, Any] = {
        "default": {"cpu": "100m", "memory": "3Gi"},
        "generate": {"cpu": "100m", "memory": "300Mi"},
    }
    run = here.start("tight", ["prepare", "generate"], resources=little)
    assert here.ended(run) == "FAILED"
    # the last lines of a flow come a little after its state
    until(lambda: "lower generate.batch" in here.log(run), 60, lambda: here.log(run))
    assert "OutOfMemory: the process used more memory than it may" in here.log(run)
    run = here.start("tight", ["prepare", "generate"])
    assert here.ended(run) == "COMPLETED", here.log(run)[-4000:]
    outs = here.lock(here.clone("tight", "tight-clone"))
    assert outs["generate"] == here.lock(undisturbed)["generate"]


@pytest.mark.parametrize("how", ["evicted", "killed"])
def test_a_run_whose_own_pod_is_gone_goes_on_with_its_jobs(here: World, how: str) -> None:
    here.project(how)
    run = here.start(how, ["prepare", "generate"])
    until(lambda: here.pods("generate"), 600, lambda: here.story(run))
    (pod,) = here.flow_pods(run)
    made: dict[str, set[str]] = {job.metadata.name: {job.metadata.uid} for job in here.jobs("generate")}
    assert made
    if how == "evicted":
        _evict(here, pod.metadata.name)
    else:
        _kill_flow(here, run)
    states: set[str] = set()

    def ended() -> bool:
        for job in here.jobs("generate"):
            made.setdefault(job.metadata.name, set()).add(job.metadata.uid)
        states.add(here.state(run))
        return bool(states & {"COMPLETED", "FAILED", "CANCELLED"})

    until(ended, 600, lambda: here.story(run))
    assert states <= {"RUNNING", "COMPLETED"}, here.story(run)  # nobody was woken
    assert {len(uids) for uids in made.values()} == {1}, here.story(run)  # adopted, not made again
    assert len({one.metadata.uid for one in here.flow_pods(run)} | {pod.metadata.uid}) == 2
    assert not here.jobs(), here.story(run)


def test_cancelling_leaves_no_job(here: World) -> None:
    here.project("cancelled")
    run = here.start("cancelled")
    until(lambda: here.pods("generate"), 600, lambda: here.story(run))
    here.api("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    until(lambda: not here.jobs(), 60, lambda: here.story(run))
    until(lambda: here.state(run) == "CANCELLED", 240, lambda: here.story(run))
    assert not here.jobs(), here.story(run)  # none came after, either


def _takes_all_gpus(here: World) -> str:
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


def _evict(here: World, pod: str) -> None:
    """As a drain of its node does."""
    api = Api(Timing())
    path = f"/api/v1/namespaces/{here.namespace}/pods/{pod}/eviction"
    body = {"kind": "Eviction", "metadata": {"name": pod, "namespace": here.namespace}}
    try:
        api.request("POST", path, body=body | {"apiVersion": "policy/v1"})
    except client.ApiException:  # before Kubernetes 1.22
        api.request("POST", path, body=body | {"apiVersion": "policy/v1beta1"})
    finally:
        api.close()


def _kill_flow(here: World, run: str) -> None:
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
