"""The Job of a piece of work, from the template that is installed."""

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import ValidationError

from components.errors import BadInput
from flows.launchers.base import Work
from flows.launchers.job_template import identity, job_for, label, read_template, selector
from flows.launchers.names import name_of
from flows.launchers.settings import ApiSettings, KubernetesSettings, Resources

TEMPLATE = Path(__file__).parents[3] / "k8s/stage-job.yaml"
WORK = Work(
    run="2f1e8a34-0000-4000-8000-1234567890ab",
    stage="generate",
    shard="00002-of-00004",
    attempt=1,
    command=("components.generate", "--shard", "2/4", "--task", "s3://bucket/dp2o/tasks/ab.json"),
    gpus=2,
    environment={"DP2O_STORE": "s3://bucket", "HOME": "/workspace"},
)


def settings(**changes: Any) -> KubernetesSettings:
    return KubernetesSettings(image="registry/components@sha256:ab", job_template=TEMPLATE, **changes)


def made(work: Work = WORK, **changes: Any) -> dict[str, Any]:
    return job_for(work, read_template(TEMPLATE), settings(**changes), "launcher-1")


@pytest.mark.parametrize("version", ["1.31", kubernetes_validate.latest_version()])
def test_is_strictly_valid(version: str) -> None:
    full = made(
        queue="gpus", priority_class="batch", resources={"default": Resources(), "generate": Resources(cpu="4")}
    )
    for job in (yaml.safe_load(TEMPLATE.read_text()), made(), full):
        kubernetes_validate.validate(job, version, strict=True)
    full["spec"]["template"]["spec"]["containers"][0]["gpus"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(full, version, strict=True)


TRAINING = Work("run", "train", "whole", 0, ("components.train",), gpus=8, nodes=4)


@pytest.mark.parametrize("version", ["1.31", kubernetes_validate.latest_version()])
def test_several_nodes_are_an_indexed_job_that_is_strictly_valid(version: str) -> None:
    job = made(TRAINING)
    kubernetes_validate.validate(job, version, strict=True)
    spec = job["spec"]
    assert (spec["completionMode"], spec["parallelism"], spec["completions"]) == ("Indexed", 4, 4)
    # one pod's end, also by eviction, ends all: none is made again alone
    assert spec["backoffLimit"] == 0
    assert "podFailurePolicy" not in spec
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    environment = {item["name"]: item for item in pod["containers"][0]["env"]}
    assert environment["DP2O_NODES"]["value"] == "4"
    path = environment["DP2O_NODE"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert environment["DP2O_FIRST_NODE"]["value"] == f"{name_of(TRAINING)}-0.dp2o-train:29500"
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "8"


def test_the_first_node_is_named_by_the_templates_own_service_if_it_has_one() -> None:
    template = read_template(TEMPLATE)
    template["spec"]["template"]["spec"]["subdomain"] = "ours"
    pod = job_for(TRAINING, template, settings(), "l")["spec"]["template"]["spec"]
    assert pod["subdomain"] == "ours"
    assert f"{name_of(TRAINING)}-0.ours:29500" in {item.get("value") for item in pod["containers"][0]["env"]}


def test_a_job_of_one_node_is_as_the_template_has_it() -> None:
    template = read_template(TEMPLATE)
    template["spec"] |= {"parallelism": 3, "completions": 3, "completionMode": "Indexed"}
    spec = job_for(WORK, template, settings(), "l")["spec"]
    assert (spec["parallelism"], spec["completions"], spec["completionMode"]) == (3, 3, "Indexed")
    assert "DP2O_NODES" not in {item["name"] for item in spec["template"]["spec"]["containers"][0]["env"]}


def test_says_which_work_it_is() -> None:
    job = made()
    assert job["metadata"]["name"] == name_of(WORK)
    assert job["metadata"]["namespace"] == "dp2o"
    expected = {
        "app.kubernetes.io/part-of": "dp2o",
        "dp2o.dev/run": WORK.run,
        "dp2o.dev/stage": "generate",
        "dp2o.dev/shard": "00002-of-00004",
        "dp2o.dev/attempt": "1",
    }
    assert expected.items() <= job["metadata"]["labels"].items()
    assert expected.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert selector(WORK.run) == f"app.kubernetes.io/part-of=dp2o,dp2o.dev/run={WORK.run}"


def test_always_has_deadlines_and_a_ttl_and_never_retries_a_failure() -> None:
    spec = made(run_timeout=100, queue_timeout=50, ttl=7)["spec"]
    assert spec["template"]["spec"]["activeDeadlineSeconds"] == 100  # counted from when the pod has a node
    assert spec["activeDeadlineSeconds"] == 150
    assert (spec["ttlSecondsAfterFinished"], spec["backoffLimit"]) == (7, 0)
    assert spec["podFailurePolicy"]["rules"] == [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    ]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_the_container_is_filled_in() -> None:
    container = made()["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] + container["args"] == ["python", "-m", *WORK.command]
    assert container["image"] == "registry/components@sha256:ab"
    environment = {item["name"]: item["value"] for item in container["env"]}
    assert environment["DP2O_WORKSPACE"] == "/workspace"  # the template's
    assert environment["DP2O_STORE"] == "s3://bucket"
    assert [item["name"] for item in container["env"]].count("HOME") == 1
    assert environment["HOME"] == "/workspace"  # the work's own wins
    assert container["envFrom"] == [
        {"configMapRef": {"name": "dp2o-settings"}},
        {"secretRef": {"name": "dp2o-s3"}},
        {"secretRef": {"name": "dp2o-mlflow", "optional": True}},
    ]


def test_resources_are_the_stages() -> None:
    resources = {"default": Resources(), "generate": Resources(cpu="500m", memory="3Gi")}

    def given(work: Work, **changes: Any) -> dict[str, Any]:
        pod = made(work, resources=resources, **changes)["spec"]["template"]["spec"]
        return dict(pod["containers"][0]["resources"])

    assert given(WORK, gpu_resource="nvidia.com/a100") == {
        "requests": {"cpu": "500m", "memory": "3Gi", "nvidia.com/a100": "2"},
        "limits": {"memory": "3Gi", "nvidia.com/a100": "2"},
    }
    on_cpu = Work("r", "pair", "whole", 0, ("components.pair",))
    assert given(on_cpu) == {"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"memory": "8Gi"}}


def test_pods_have_no_rights_and_least_privilege() -> None:
    pod = made()["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_queue_and_priority_class_only_where_set() -> None:
    assert "kueue.x-k8s.io/queue-name" not in made()["metadata"]["labels"]
    assert made(queue="gpus")["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert "priorityClassName" not in made()["spec"]["template"]["spec"]
    assert made(priority_class="batch")["spec"]["template"]["spec"]["priorityClassName"] == "batch"


def test_the_template_is_not_changed_by_filling_it_in() -> None:
    template = read_template(TEMPLATE)
    before = json.dumps(template)
    job_for(WORK, template, settings(), "l")
    assert json.dumps(template) == before


def test_a_label_holds_what_a_label_can_and_stays_unique() -> None:
    assert label(WORK.run) == WORK.run
    assert label("a b") != label("a_b")
    assert len(label("x" * 100)) <= 63
    assert label("x" * 100) != label("x" * 101)
    assert identity(Work("my run!", "s", "w", 0, ()))["dp2o.dev/run"].startswith("my-run-")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: Pod", "kind Job"),
        ("[", "not YAML"),
        ("{apiVersion: batch/v1, kind: Job}", "spec.template.spec.containers"),
        ("{apiVersion: batch/v1, kind: Job, spec: {template: {spec: {containers: [{name: x}]}}}}", "named `stage`"),
        ("{apiVersion: batch/v1, kind: Job, spec: {template: {spec: {containers: [{name: stage}]}}}}", "Never"),
    ],
)
def test_a_template_that_cannot_work_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(BadInput, match=says):
        read_template(tmp_path / "job.yaml")
    with pytest.raises(BadInput, match="does not exist"):
        read_template(tmp_path / "none.yaml")


def test_settings_refuse_what_is_unknown_or_impossible() -> None:
    for changes in ({"imgae": "x"}, {"queue_timeout": 0}, {"resources": {}}, {"namespace": "No Name"}):
        with pytest.raises(ValidationError):
            settings(**changes)
    with pytest.raises(ValidationError, match="first_pause"):
        ApiSettings(first_pause=5, longest_pause=1)
