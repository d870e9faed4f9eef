"""The Job of one piece of work: the administrator's template, filled in."""

import copy
import hashlib
import re
from pathlib import Path

import yaml

from components.errors import BadInput
from flows.launchers.api import Json
from flows.launchers.base import Work
from flows.launchers.names import name_of
from flows.launchers.settings import KubernetesSettings

PART_OF, DP2O = "app.kubernetes.io/part-of", "dp2o"
RUN, STAGE, SHARD, ATTEMPT = "dp2o.dev/run", "dp2o.dev/stage", "dp2o.dev/shard", "dp2o.dev/attempt"
LAUNCHER = "dp2o.dev/launcher"
"""Annotation: which launcher made it, so that a create whose answer was lost is not taken for another's."""
QUEUE = "kueue.x-k8s.io/queue-name"
CONTAINER = "stage"
CPU = "cpu"
INDEX = "batch.kubernetes.io/job-completion-index"
"""Label and annotation that an Indexed Job gives its pods."""
SERVICE, PORT = "dp2o-train", 29500
"""Headless Service of k8s/options/train-nodes, which gives pods names; port of the first node, where they meet."""

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


def label(value: str) -> str:
    """`value` where a label can hold it (a flow run's id does), else what is left of it and a digest."""
    if _LABEL.fullmatch(value):
        return value
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", value).strip("-_.")[:40]
    return f"{readable or 'x'}-{hashlib.sha256(value.encode()).hexdigest()[:10]}"


def identity(work: Work) -> dict[str, str]:
    """The labels that say which work a Job is; a Job is adopted only if it has all of them."""
    return {
        RUN: label(work.run),
        STAGE: label(work.stage),
        SHARD: label(work.shard),
        ATTEMPT: str(work.attempt),
    }


def selector(run: str) -> str:
    """Of all Jobs and pods of a run."""
    return f"{PART_OF}={DP2O},{RUN}={label(run)}"


def read_template(path: Path) -> Json:
    """The template, checked for what the launcher relies on.

    Raises:
        BadInput: it is not a Job with a container named `stage`.
    """
    try:
        template = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise BadInput(f"the Job template {path} does not exist; set job_template, or run from a checkout") from None
    except yaml.YAMLError as error:
        raise BadInput(f"the Job template {path} is not YAML: {error}") from error
    if not isinstance(template, dict) or (template.get("apiVersion"), template.get("kind")) != ("batch/v1", "Job"):
        raise BadInput(f"the Job template {path} must be one object, with apiVersion batch/v1 and kind Job")
    try:
        names = [container["name"] for container in template["spec"]["template"]["spec"]["containers"]]
        restart = template["spec"]["template"]["spec"].get("restartPolicy")
    except (KeyError, TypeError) as error:
        raise BadInput(f"the Job template {path} has no spec.template.spec.containers with names") from error
    if CONTAINER not in names:
        raise BadInput(f"the Job template {path} has containers {names}; the stage's must be named `{CONTAINER}`")
    if restart != "Never":
        raise BadInput(
            f"the Job template {path} has restartPolicy {restart}; it must be Never: a container that is started "
            "again within its pod would hide why it failed"
        )
    return template


def job_for(work: Work, template: Json, settings: KubernetesSettings, launcher: str) -> Json:
    """The Job to create.

    Args:
        launcher: id of the launcher, for the annotation.
    """
    job: Json = copy.deepcopy(template)
    labels = {**identity(work), PART_OF: DP2O}
    metadata = job.setdefault("metadata", {})
    metadata["name"] = name_of(work)
    metadata["namespace"] = settings.namespace
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), LAUNCHER: launcher, RUN: work.run}
    if settings.queue:
        metadata["labels"][QUEUE] = settings.queue
    spec = job["spec"]
    spec["backoffLimit"] = 0
    spec["activeDeadlineSeconds"] = settings.queue_timeout + settings.run_timeout
    spec["ttlSecondsAfterFinished"] = settings.ttl
    pod_metadata = spec["template"].setdefault("metadata", {})
    pod_metadata["labels"] = {**(pod_metadata.get("labels") or {}), **labels}
    pod = spec["template"]["spec"]
    pod["activeDeadlineSeconds"] = settings.run_timeout
    pod["serviceAccountName"] = settings.service_account
    if settings.priority_class:
        pod["priorityClassName"] = settings.priority_class
    container = next(item for item in pod["containers"] if item["name"] == CONTAINER)
    container["image"] = settings.image
    container.setdefault("command", ["python", "-m"])
    container["args"] = list(work.command)
    own = work.environment | work.secrets  # who may read Jobs in the namespace may start one with any Secret of it
    given = [item for item in container.get("env") or () if item["name"] not in own]
    container["env"] = given + [{"name": name, "value": value} for name, value in sorted(own.items())]
    container["envFrom"] = [*(container.get("envFrom") or ()), *_sources(settings, work.promotes)]
    requests = requests_of(work, settings)
    container["resources"] = {
        "requests": requests,
        "limits": {name: requests[name] for name in requests if name != CPU},
    }
    if work.nodes > 1:
        _spread(job, container, work.nodes)
    return job


def _spread(job: Json, container: Json, nodes: int) -> None:
    """Make it a pod a node: an Indexed Job whose pods know their number and the name of the first.

    They end together: the first pod that ends badly, or is evicted, ends the Job, and that stops the others. The flow
    then starts all of them again, which continue from the newest checkpoint.
    """
    spec = job["spec"]
    spec |= {"completionMode": "Indexed", "parallelism": nodes, "completions": nodes}
    spec.pop("podFailurePolicy", None)  # it would have an evicted pod made again alone; torchrun takes none in later
    pod = spec["template"]["spec"]
    service = pod.setdefault("subdomain", SERVICE)
    number = {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX}']"}}
    container["env"] += [
        {"name": "DP2O_NODES", "value": str(nodes)},
        {"name": "DP2O_NODE", "valueFrom": number},
        {"name": "DP2O_FIRST_NODE", "value": f"{job['metadata']['name']}-0.{service}:{PORT}"},
    ]


def _sources(settings: KubernetesSettings, promotes: bool) -> list[Json]:
    """Later ones win, so that a Secret may set what a ConfigMap sets, and a promoter's what all have."""
    optional = [*settings.optional_secrets, *(settings.promoter_secrets if promotes else ())]
    return [
        *({"configMapRef": {"name": name}} for name in settings.config_maps),
        *({"secretRef": {"name": name}} for name in settings.secrets),
        *({"secretRef": {"name": name, "optional": True}} for name in optional),
    ]


def requests_of(work: Work, settings: KubernetesSettings) -> dict[str, str]:
    """What each of its pods asks for, by resource; all but the CPU are limits as well."""
    wanted = settings.resources_of(work.stage)
    gpus = {settings.gpu_resource: str(work.gpus)} if work.gpus else {}
    return {CPU: wanted.cpu, "memory": wanted.memory, **gpus}
