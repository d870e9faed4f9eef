"""On a real cluster: each ServiceAccount may do what it needs and nothing else, and pods run as the manifests say.

Needs KUBECONFIG of somebody who may make namespaces. Everything happens in a namespace of its own.
"""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from tests.cluster.images import ci_image, environment_folders, required
from tests.k8s.manifests import ROOT, Object, rendered
from tests.k8s.test_access import RIGHTS

FORBIDDEN = 403
ENFORCE = "pod-security.kubernetes.io/enforce"
MOUNTS = "tests mount this machine's Python packages (hostPath), so that no image of gigabytes is built for them"
OF_EVERYBODY = {
    ("authorization.k8s.io", "selfsubjectaccessreviews", "create"),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "create"),
    ("authentication.k8s.io", "selfsubjectreviews", "create"),
}
"""What Kubernetes lets every account ask: what it may do itself."""


def in_namespace(document: Object, namespace: str) -> Object:
    """The object, and every subject and name in it, in another namespace."""
    text = json.dumps(document).replace('"namespace": "dp2o"', f'"namespace": "{namespace}"')
    return json.loads(text)  # type: ignore[no-any-return]


def kubectl(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["kubectl", *arguments], input=given, capture_output=True, text=True, check=False, timeout=1800
    )


@pytest.fixture(scope="module")
def admin() -> client.ApiClient:
    """A client of whoever KUBECONFIG names."""
    required("KUBECONFIG of a cluster", os.environ.get("KUBECONFIG"))
    return config.new_client_from_config()


@pytest.fixture(scope="module")
def served(admin: client.ApiClient) -> Callable[[Object], bool]:
    """Whether this cluster's version knows an object's API."""
    known: set[str] = {"v1"}
    for group in client.ApisApi(admin).get_api_versions().groups:
        known |= {version.group_version for version in group.versions}
    return lambda document: document["apiVersion"] in known


@contextmanager
def like_ours(admin: client.ApiClient, served: Callable[[Object], bool], why_privileged: str = "") -> Iterator[str]:
    """A namespace with everything of the base but workloads, removed in the end.

    Args:
        why_privileged: what its pods do that `restricted`, as in the base, refuses.
    """
    core, name = client.CoreV1Api(admin), f"dp2o-rbac-{secrets.token_hex(3)}"
    labels = dict(next(one for one in rendered("local") if one["kind"] == "Namespace")["metadata"]["labels"])
    core.create_namespace({"metadata": {"name": name} | loosened(labels, why_privileged)})
    try:
        skipped = ("Namespace", "PriorityClass", "Deployment", "StatefulSet")
        documents = [in_namespace(one, name) for one in rendered("local") if one["kind"] not in skipped and served(one)]
        applied = kubectl(
            "apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
        )
        assert applied.returncode == 0, applied.stderr
        yield name
    finally:
        core.delete_namespace(name, propagation_policy="Background")


def loosened(labels: dict[str, str], why: str) -> Object:
    """Labels of a namespace that enforces pod security; with a reason it lets everything in, and says why."""
    if not why:
        return {"labels": labels}
    return {"labels": labels | {ENFORCE: "privileged"}, "annotations": {"dp2o.dev/why-privileged": why}}


@pytest.fixture(scope="module")
def namespace(admin: client.ApiClient, served: Callable[[Object], bool]) -> Iterator[str]:
    """As the base has it: `restricted`."""
    with like_ours(admin, served) as name:
        yield name


@pytest.fixture(scope="module")
def mounting_namespace(admin: client.ApiClient, served: Callable[[Object], bool]) -> Iterator[str]:
    """The same for pods that take their packages from the node."""
    with like_ours(admin, served, MOUNTS) as name:
        yield name


@pytest.fixture(scope="module")
def as_account(admin: client.ApiClient, namespace: str) -> Callable[[str], client.ApiClient]:
    """Clients that hold an account's own token, and nothing of the administrator's."""

    def clients(account: str) -> client.ApiClient:
        body = {"spec": {"expirationSeconds": 3600, "audiences": None}}
        token = client.CoreV1Api(admin).create_namespaced_service_account_token(account, namespace, body).status.token
        configuration = client.Configuration()
        configuration.host = admin.configuration.host
        configuration.ssl_ca_cert = admin.configuration.ssl_ca_cert
        configuration.api_key = {"authorization": f"Bearer {token}"}
        return client.ApiClient(configuration)

    return clients


def test_every_object_is_accepted(namespace: str, served: Callable[[Object], bool]) -> None:
    """Workloads too, by a dry run on the server; what this version does not serve is counted, not hidden."""
    left_out = set()
    for one in rendered("local"):
        if not served(one):
            left_out.add((one["apiVersion"], one["kind"]))
        elif one["kind"] in ("Deployment", "StatefulSet", "PriorityClass"):
            done = kubectl("apply", "--dry-run=server", "-f", "-", given=json.dumps(in_namespace(one, namespace)))
            assert done.returncode == 0, f"{one['kind']}/{one['metadata']['name']}: {done.stderr}"
    assert left_out <= {("policy/v1", "PodDisruptionBudget")}, left_out


@pytest.mark.parametrize("account", RIGHTS)
def test_the_server_lists_these_rights_and_no_others(
    account: str, namespace: str, as_account: Callable[[str], client.ApiClient]
) -> None:
    api = client.AuthorizationV1Api(as_account(account))
    review = api.create_self_subject_rules_review({"spec": {"namespace": namespace}})
    assert not review.status.incomplete
    found = {
        (group, resource, verb)
        for rule in review.status.resource_rules
        for group in rule.api_groups
        for resource in rule.resources
        for verb in rule.verbs
    }
    assert found - OF_EVERYBODY == RIGHTS[account]


@pytest.mark.parametrize("account", RIGHTS)
@pytest.mark.parametrize("elsewhere", ["default", "kube-system"])
def test_nothing_is_allowed_elsewhere(
    account: str, elsewhere: str, namespace: str, as_account: Callable[[str], client.ApiClient]
) -> None:
    api = client.AuthorizationV1Api(as_account(account))
    review = api.create_self_subject_rules_review({"spec": {"namespace": elsewhere}})
    found = {
        (group, resource, verb)
        for rule in review.status.resource_rules
        for group in rule.api_groups
        for resource in rule.resources
        for verb in rule.verbs
    }
    assert found <= OF_EVERYBODY


JOB = {
    "metadata": {"name": "try"},
    "spec": {
        "suspend": True,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "try", "image": "example.com/none"}]}},
    },
}


@pytest.mark.parametrize("account", ["dp2o-flow", "dp2o-worker"])
def test_what_is_needed_is_allowed(account: str, namespace: str, as_account: Callable[[str], client.ApiClient]) -> None:
    api = as_account(account)
    batch, core = client.BatchV1Api(api), client.CoreV1Api(api)
    batch.create_namespaced_job(namespace, JOB | {"metadata": {"name": f"try-{account}"}})
    assert batch.read_namespaced_job(f"try-{account}", namespace).metadata.name == f"try-{account}"
    assert f"try-{account}" in {one.metadata.name for one in batch.list_namespaced_job(namespace).items}
    version = batch.list_namespaced_job(namespace).metadata.resource_version
    batch.delete_namespaced_job(f"try-{account}", namespace, propagation_policy="Background")
    # a watch from before the deletion tells of it
    query = {"watch": True, "resource_version": version, "timeout_seconds": 10, "_preload_content": False}
    events = (json.loads(line) for line in batch.list_namespaced_job(namespace, **query))
    assert any(
        event["type"] == "DELETED" and event["object"]["metadata"]["name"] == f"try-{account}" for event in events
    )
    core.list_namespaced_pod(namespace)
    with pytest.raises(ApiException) as missing:  # allowed to ask, and there is none
        core.read_namespaced_pod_log("nobody", namespace)
    assert missing.value.status == 404


def _refused(core: client.CoreV1Api, batch: client.BatchV1Api, name: str, inside: str) -> dict[str, Callable[[], Any]]:
    pod = {"metadata": {"name": "try"}, "spec": JOB["spec"]["template"]["spec"]}
    rbac = client.RbacAuthorizationV1Api(core.api_client)
    binding = {
        "metadata": {"name": "more"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": inside}],
    }
    return {
        "read a Secret": lambda: core.read_namespaced_secret("dp2o-s3", inside),
        "list Secrets": lambda: core.list_namespaced_secret(inside),
        "list Secrets of all": core.list_secret_for_all_namespaces,
        "read the settings": lambda: core.read_namespaced_config_map("dp2o-settings", inside),
        "make a pod": lambda: core.create_namespaced_pod(inside, pod),
        "delete a pod": lambda: core.delete_namespaced_pod("any", inside),
        "run a command in a pod": lambda: core.connect_get_namespaced_pod_exec("any", inside, command=["id"]),
        "change a Job": lambda: batch.patch_namespaced_job("any", inside, {"metadata": {"labels": {"a": "b"}}}),
        "delete all Jobs at once": lambda: batch.delete_collection_namespaced_job(inside),
        "make an event": lambda: core.create_namespaced_event(
            inside, {"metadata": {"name": "e"}, "involvedObject": {}}
        ),
        "get more rights": lambda: rbac.create_namespaced_role_binding(inside, binding),
        "make a token": lambda: core.create_namespaced_service_account_token(name, inside, {"spec": {}}),
        "make a Job elsewhere": lambda: batch.create_namespaced_job("default", JOB),
        "list pods elsewhere": lambda: core.list_namespaced_pod("kube-system"),
        "list nodes": core.list_node,
        "list namespaces": core.list_namespace,
    }


@pytest.mark.parametrize("account", RIGHTS)
def test_what_is_not_needed_is_denied(
    account: str, namespace: str, as_account: Callable[[str], client.ApiClient]
) -> None:
    api = as_account(account)
    calls = _refused(client.CoreV1Api(api), client.BatchV1Api(api), account, namespace)
    allowed = {}
    for what, call in calls.items():
        try:
            allowed[what] = call()
        except ApiException as error:
            if error.status != FORBIDDEN:
                allowed[what] = error.status
    assert not allowed


@pytest.mark.parametrize("account", ["dp2o-stage", "dp2o-server"])
def test_an_account_without_rights_cannot_even_look(
    account: str, namespace: str, as_account: Callable[[str], client.ApiClient]
) -> None:
    api = as_account(account)
    for call in (client.BatchV1Api(api).list_namespaced_job, client.CoreV1Api(api).list_namespaced_pod):
        with pytest.raises(ApiException) as refused:
            call(namespace)
        assert refused.value.status == FORBIDDEN


LOOK = """
import json, os, pathlib
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
def writable(folder):
    try:
        pathlib.Path(folder, "try").write_text("x")
    except OSError as error:
        return error.strerror
    return "written"
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(),
    "capabilities": int(status["CapEff"], 16), "bounding": int(status["CapBnd"], 16),
    "no_new_privileges": status["NoNewPrivs"].strip(), "seccomp": status["Seccomp"].strip(),
    "token": pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists(),
    "write": {folder: writable(folder) for folder in ("/", "/app", "/usr", "/tmp", "/workspace", "/dev/shm")},
}))
"""


def test_a_stages_pod_can_write_nothing_but_its_volumes(admin: client.ApiClient, namespace: str) -> None:
    job = stage_job("look", {"image": ci_image(), "command": ["python", "-c", LOOK], "args": []}, memory="128Mi")
    seen = json.loads(log_of(admin, namespace, job))
    assert seen == {
        "uid": 10001,
        "gid": 10001,
        "capabilities": 0,
        "bounding": 0,
        "no_new_privileges": "1",
        "seccomp": "2",
        "token": False,
        "write": {
            "/": "Read-only file system",
            "/app": "Read-only file system",
            "/usr": "Read-only file system",
            "/tmp": "written",
            "/workspace": "written",
            "/dev/shm": "written",
        },
    }


def test_a_stage_imports_what_it_needs_from_the_mounted_environment(admin: client.ApiClient) -> None:
    """The slim image for tests: the environment of the node, read-only. Restricted pods may not mount it."""
    for folder in environment_folders():
        required(str(folder), folder.is_dir())
    job = stage_job("mounted", {"image": ci_image(), "args": ["components.metrics.weights"]}, memory="2Gi")
    pod = job["spec"]["template"]["spec"]
    pod["serviceAccountName"] = "default"
    for index, folder in enumerate(environment_folders()):
        pod["volumes"].append({"name": f"environment-{index}", "hostPath": {"path": str(folder), "type": "Directory"}})
        mount = {"name": f"environment-{index}", "mountPath": str(folder), "readOnly": True}
        pod["containers"][0]["volumeMounts"].append(mount)
    core, name = client.CoreV1Api(admin), f"dp2o-mounted-{secrets.token_hex(3)}"
    core.create_namespace({"metadata": {"name": name} | loosened({}, MOUNTS)})
    try:
        assert "all in place" in log_of(admin, name, job)
    finally:
        core.delete_namespace(name, propagation_policy="Background")


def stage_job(name: str, container: Object, memory: str) -> Object:
    """The Job template of stages with these fields of its container."""
    job: Object = yaml.safe_load((ROOT / "k8s" / "stage-job.yaml").read_text())
    job["metadata"]["name"] = name
    resources = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": memory}}
    job["spec"]["template"]["spec"]["containers"][0] |= container | {"resources": resources}
    return job


def log_of(admin: client.ApiClient, namespace: str, job: Object, seconds: float = 180) -> str:
    """Run a Job and return its pod's log."""
    batch, core, name = client.BatchV1Api(admin), client.CoreV1Api(admin), job["metadata"]["name"]
    batch.create_namespaced_job(namespace, job)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status = batch.read_namespaced_job_status(name, namespace).status
        pods = core.list_namespaced_pod(namespace, label_selector=f"job-name={name}").items
        if status.succeeded or status.failed:
            log = str(core.read_namespaced_pod_log(pods[0].metadata.name, namespace))
            assert status.succeeded, log
            return log
        time.sleep(0.5)
    events = [one.message for one in core.list_namespaced_event(namespace).items if name in one.involved_object.name]
    raise AssertionError(f"{name} did not end in {seconds} s: {events}")
