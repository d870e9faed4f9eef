"""The whole of `align` on a real cluster: by a deployment, stages as Jobs, data in S3, metrics in MLflow.

Everything around it is real as well (tests/cluster/world.py). The disturbed run goes through one fault after another
and has to end in the same bytes as the undisturbed one.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from flows.launchers.api import Api
from flows.launchers.settings import ApiSettings
from tests.cluster.faults import Faults, Strikes, kill_flow, take_all_gpus
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


def test_a_run_with_every_fault_gives_the_same_bytes(here: World, undisturbed: Path) -> None:
    here.project("rough")
    blocker = take_all_gpus(here)
    run = here.start("rough")
    faults, strikes = Faults(here, run, here.remote("rough")), Strikes(here, "rough", run, blocker)
    expected = strikes.all(faults)
    until(lambda: here.state(run) in {"COMPLETED", "FAILED", "CANCELLED"}, 2400, lambda: here.log(run))
    assert here.state(run) == "COMPLETED", here.log(run)[-8000:]
    assert set(faults.over()) == expected
    assert not here.jobs(), "Jobs are left"
    root = here.clone("rough", "rough-clone")
    here.shell(undisturbed)("git", "checkout", "-q", "HEAD")
    assert here.lock(root) == here.lock(undisturbed)
    assert strikes.objects("corrupt/"), "the damaged object was not set aside"
    here.shell(root)("dvc", "pull", "-q")
    assert json.loads(here.shell(root)("dvc", "status", "--json")) == {}


def test_too_little_memory_has_a_name_and_a_way_out(here: World, undisturbed: Path) -> None:
    here.project("tight")
    little: dict[str, Any] = {
        "default": {"cpu": "100m", "memory": "3Gi"},
        # Far less than imports take: just below it the kernel takes files' pages back for minutes.
        "generate": {"cpu": "100m", "memory": "96Mi"},
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
        kill_flow(here, run)
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


def _evict(here: World, pod: str) -> None:
    """As a drain of its node does."""
    api = Api(ApiSettings())
    path = f"/api/v1/namespaces/{here.namespace}/pods/{pod}/eviction"
    body = {"kind": "Eviction", "metadata": {"name": pod, "namespace": here.namespace}}
    try:
        api.request("POST", path, body=body | {"apiVersion": "policy/v1"})
    except client.ApiException:  # before Kubernetes 1.22
        api.request("POST", path, body=body | {"apiVersion": "policy/v1beta1"})
    finally:
        api.close()
