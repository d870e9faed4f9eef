"""A real cluster: any conformant one that KUBECONFIG names, with a registry its nodes can pull from.

Tests make what they need in a namespace of their own and remove it. Needed: rights of an administrator (the tests make
namespaces, roles, and an extended resource on one node), podman, and
* CLUSTER_REGISTRY: host:port of the registry, without TLS from here;
* CLUSTER_BASE_IMAGE (optional): an image with Python 3;
* CLUSTER_RESTART_API (optional): a shell command that kills the API server and has it started again.
"""

import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from kubernetes import client

from flows.launchers.api import load_configuration
from flows.launchers.kubernetes import KubernetesLauncher
from flows.launchers.settings import ApiSettings, KubernetesSettings, Resources

HOW_TO = (
    "set KUBECONFIG to a cluster you may administer (for example `kind create cluster`) and CLUSTER_REGISTRY to a "
    "registry its nodes can pull from (kind's page 'Local Registry' has the script)"
)
HERE = Path(__file__).parent
TEMPLATE = HERE.parents[1] / "k8s/stage-job.yaml"
LOCAL_BASE, PUBLIC_BASE = "localhost/python-base", "docker.io/library/python:3.11-slim"
GPU = "dp2o.test/gpu"


def unavailable(reason: str) -> NoReturn:
    """A failure where a cluster was promised (CI), else a skip."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def configuration() -> client.Configuration:
    """Of an administrator."""
    missing = [name for name in ("KUBECONFIG", "CLUSTER_REGISTRY") if not os.environ.get(name)]
    if missing:
        unavailable(f"NO CLUSTER TESTS: {' and '.join(missing)} not set; {HOW_TO}")
    return load_configuration()


@pytest.fixture(scope="session")
def core(configuration: client.Configuration) -> client.CoreV1Api:
    """Of an administrator."""
    api = client.CoreV1Api(client.ApiClient(configuration))
    try:
        api.list_node(_request_timeout=10)
    except Exception as error:  # noqa: BLE001  # whatever it is, there is no cluster
        unavailable(f"NO CLUSTER TESTS: the cluster of KUBECONFIG does not answer ({error}); {HOW_TO}")
    return api


@pytest.fixture(scope="session")
def batch(core: client.CoreV1Api) -> client.BatchV1Api:
    """Of an administrator."""
    return client.BatchV1Api(core.api_client)


def run(*command: str) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def push(name: str, folder: Path, *options: str) -> str:
    """Build `folder` and push it; the image by digest."""
    image = f"{os.environ['CLUSTER_REGISTRY']}/{name}"
    run("podman", "build", "--network", "host", "--tag", image, *options, str(folder))
    with tempfile.NamedTemporaryFile("r") as digest:
        run("podman", "push", "--tls-verify=false", "--digestfile", digest.name, image)
        return f"{image}@{digest.read().strip()}"


@pytest.fixture(scope="session")
def image(core: client.CoreV1Api) -> str:
    """A small image whose `/stage.py` behaves as told."""
    base = os.environ.get("CLUSTER_BASE_IMAGE")
    if base is None:
        found = subprocess.run(["podman", "image", "exists", LOCAL_BASE], check=False, timeout=1800).returncode == 0
        base = LOCAL_BASE if found else PUBLIC_BASE
    return push("dp2o-test-stage", HERE / "image", "--build-arg", f"BASE={base}")


@dataclass(frozen=True)
class Place:
    """A namespace, and launchers in it."""

    name: str
    image: str
    template: Path
    core: client.CoreV1Api
    batch: client.BatchV1Api
    launchers: list[KubernetesLauncher]

    def launcher(self, configuration: client.Configuration | None = None, **changes: Any) -> KubernetesLauncher:
        """A launcher with settings for tests; closed with the namespace."""
        given: dict[str, Any] = {
            "namespace": self.name,
            "image": self.image,
            "job_template": self.template,
            "service_account": "default",
            "gpu_resource": GPU,
            "secrets": (),
            "optional_secrets": (),
            "config_maps": (),
            "resources": {"default": Resources(cpu="50m", memory="64Mi")},
            "run_timeout": 120,
            "queue_timeout": 120,
            "api": ApiSettings(patience=120, first_pause=0.1, longest_pause=2),
        }
        launcher = KubernetesLauncher(KubernetesSettings(**{**given, **changes}), configuration or load_configuration())
        self.launchers.append(launcher)
        return launcher

    def jobs(self) -> list[str]:
        """Names of what is there."""
        return [job.metadata.name for job in self.batch.list_namespaced_job(self.name).items]

    def pods(self) -> list[client.V1Pod]:
        """What is there."""
        return list(self.core.list_namespaced_pod(self.name).items)

    def running(self) -> list[client.V1Pod]:
        """Pods whose container runs."""
        return [pod for pod in self.pods() if pod.status.phase == "Running"]


@pytest.fixture(scope="session")
def used(core: client.CoreV1Api) -> Iterator[list[str]]:
    """Namespaces that tests have deleted; in the end they must be gone, and with them all pods."""
    names: list[str] = []
    yield names
    left = lambda: {found.metadata.name for found in core.list_namespace().items} & set(names)  # noqa: E731
    until(lambda: not left(), 180)  # a busy kubelet takes its time to clear volumes


@pytest.fixture
def place(
    core: client.CoreV1Api, batch: client.BatchV1Api, used: list[str], image: str, tmp_path: Path
) -> Iterator[Place]:
    """A namespace of the test's own: what is left in it goes while the next test runs."""
    template = yaml.safe_load(TEMPLATE.read_text())
    pod = template["spec"]["template"]["spec"]
    pod["terminationGracePeriodSeconds"] = 2
    pod["containers"][0]["command"] = ["python3", "/stage.py"]
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(template))
    name = f"dp2o-test-{uuid.uuid4().hex[:8]}"
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name, labels=restricted)))
    until(lambda: core.list_namespaced_service_account(name).items)
    made = Place(name, image, path, core, batch, [])
    yield made
    for launcher in made.launchers:
        launcher.close()
    core.delete_namespace(name)
    used.append(name)


@pytest.fixture
def one_gpu(core: client.CoreV1Api) -> Iterator[None]:
    """One node has one unit of a resource that nobody else's pods ask for."""
    node = core.list_node().items[0].metadata.name
    key = GPU.replace("/", "~1")

    def patch(operation: str) -> None:
        steps = [
            {"op": operation, "path": f"/status/{part}/{key}", **({"value": "1"} if operation == "add" else {})}
            for part in ("capacity", "allocatable")
        ]
        core.api_client.call_api(
            "PATCH",
            f"{core.api_client.configuration.host}/api/v1/nodes/{node}/status",
            header_params={"Content-Type": "application/json-patch+json", "Accept": "application/json"},
            body=steps,
        ).read()  # a removal is refused where the kubelet has forgotten it, which is as good

    # Those of the test before have until now to end.
    until(lambda: not any(_holds_gpu(pod) for pod in core.list_pod_for_all_namespaces().items), 60)
    patch("add")
    yield
    patch("remove")


def _holds_gpu(pod: client.V1Pod) -> bool:
    """Whether the scheduler counts a unit of `GPU` for it."""
    asked = [(container.resources.requests or {}) for container in pod.spec.containers]
    return pod.status.phase in ("Pending", "Running") and any(GPU in requests for requests in asked)


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait for it; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.1)
