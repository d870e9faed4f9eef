"""What is on the cluster after `kubectl apply -k`, and how an engineer looks at it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from kubernetes import client

from tests.cluster.proxy import HOST
from tests.cluster.world import until
from tests.k8s.manifests import ROOT, Object, kustomize
from tests.services import servers

HERE = Path(__file__).parent
NAMESPACE = "dp2o"
WORKLOADS = {
    "prefect": "deployment/dp2o-prefect",
    "mlflow": "deployment/dp2o-mlflow",
    "worker": "deployment/dp2o-worker",
    "postgres": "statefulset/dp2o-postgres",
}
"""By role; a pod's container is called as its role."""
PORTS = {"dp2o-prefect": 4200, "dp2o-mlflow": 5000, "dp2o-postgres": 5432}

STARTS_WITHIN = 420
"""Seconds for all of it: gigabytes of images are unpacked, and everything shares two cores."""


def kubectl(*arguments: str, given: str | None = None) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(
        ["kubectl", *arguments], input=given, capture_output=True, text=True, check=False, timeout=1800
    )
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def forced(admin: client.ApiClient) -> list[str]:
    """Components of tests/cluster/installed that this cluster cannot do without."""
    (policy,) = [group for group in client.ApisApi(admin).get_api_versions().groups if group.name == "policy"]
    classes = client.StorageV1Api(admin).list_storage_class().items
    default = "storageclass.kubernetes.io/is-default-class"
    services = client.CoreV1Api(admin).list_namespaced_service("kube-system").items
    needed = {
        "no-policy-v1": "v1" not in {version.version for version in policy.versions},
        "no-storage-class": not any((one.metadata.annotations or {}).get(default) == "true" for one in classes),
        "no-names": not any(port.port == 53 for one in services for port in one.spec.ports or ()),
    }
    return [name for name, is_needed in needed.items() if is_needed]


@dataclass
class Installation:
    """What is on the cluster, and how an engineer looks at it."""

    core: client.CoreV1Api
    folder: Path
    lacks: list[str]
    images: dict[str, str]
    s3: servers.S3
    user: str
    password: str

    def overlay(self, name: str, options: tuple[str, ...] = ()) -> Path:
        """A folder for `kubectl apply -k`: ours, with what an engineer sets in it, and what is known only now."""
        folder = self.folder / name
        folder.mkdir()

        def relative(path: Path) -> str:
            return os.path.relpath(path.resolve(), folder.resolve())

        components = [HERE / "installed" / lack for lack in self.lacks]
        components += [ROOT / "k8s/options" / option for option in options]
        settings = {
            "AWS_ENDPOINT_URL": self.s3.endpoint,
            "DP2O_STORE": f"s3://{self.s3.bucket}/store",
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{self.s3.bucket}/mlflow",
        }
        metadata = {"name": "dp2o-settings", "namespace": NAMESPACE}
        patches: list[Object] = [{"patch": yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap",
                                                           "metadata": metadata, "data": settings})}]  # fmt: skip
        if "no-storage-class" in self.lacks:
            node = self.core.list_node().items[0].metadata.labels["kubernetes.io/hostname"]
            match = "/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values/0"
            steps = [{"op": "replace", "path": "/spec/local/path", "value": str(self.folder / "volume")},
                     {"op": "replace", "path": match, "value": node}]  # fmt: skip
            patches.append({"target": {"kind": "PersistentVolume"}, "patch": yaml.safe_dump(steps)})
        if "no-names" in self.lacks:
            step = {"op": "replace", "path": "/spec/template/spec/dnsConfig/nameservers/0", "value": HOST}
            patches.append({"target": {"kind": "(Deployment|StatefulSet)"}, "patch": yaml.safe_dump([step])})
        images = []
        for named, image in self.images.items():
            new, _, digest = image.partition("@")
            images.append({"name": named, "newName": new, "digest": digest})
        document = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [relative(HERE / "installed")],
            "components": [relative(path) for path in components],
            "patches": patches,
            "images": images,
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))
        return folder

    def apply(self, folder: Path) -> None:
        """Apply it, and wait until every workload is as its controller wants it."""
        command = [*kustomize(), str(folder)]  # a kubectl of the cluster's age cannot render components
        rendered = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1800).stdout
        kubectl("apply", "-f", "-", given=rendered)
        self.wait()

    def wait(self) -> None:
        """Until all is available, or tell what an engineer would look at."""
        try:
            for workload in WORKLOADS.values():
                kubectl("-n", NAMESPACE, "rollout", "status", workload, f"--timeout={STARTS_WITHIN}s")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.trouble()}") from None

    def secret(self, name: str, **values: str) -> None:
        """As `kubectl create secret generic` with literals."""
        literals = [f"--from-literal={key.replace('__', '.')}={value}" for key, value in values.items()]
        kubectl("-n", NAMESPACE, "create", "secret", "generic", name, *literals)

    def trouble(self) -> str:
        """Pods, events and the end of every log."""
        told = [kubectl("-n", NAMESPACE, "get", "pods,pvc,jobs", "-o", "wide")]
        told.append(kubectl("-n", NAMESPACE, "get", "events", "--sort-by=.lastTimestamp")[-4000:])
        for pod in self.core.list_namespaced_pod(NAMESPACE).items:
            log = ["kubectl", "-n", NAMESPACE, "logs", pod.metadata.name, "--all-containers", "--tail=30"]
            done = subprocess.run(log, capture_output=True, text=True, check=False, timeout=1800)
            told.append(f"--- {pod.metadata.name}\n{done.stdout[-3000:]}{done.stderr[-500:]}")
        return "\n".join(told)

    def pod(self, role: str) -> client.V1Pod:
        """The one pod of a workload that is not on its way out."""
        found = self.core.list_namespaced_pod(NAMESPACE, label_selector=f"dp2o.dev/role={role}").items
        (pod,) = [one for one in found if one.metadata.deletion_timestamp is None]
        return pod

    def inside(self, role: str, script: str) -> str:
        """Output of a shell in a workload's container."""
        pod = self.pod(role).metadata.name
        return kubectl("-n", NAMESPACE, "exec", pod, "-c", role, "--", "sh", "-c", f"{script}\ntrue")

    @contextmanager
    def reach(self, service: str, **options: Any) -> Iterator[httpx.Client]:
        """A client of a Service by `kubectl port-forward`, as people reach it."""
        local = servers.free_port()
        log = self.folder / f"forward-{local}.log"
        command = ["kubectl", "-n", NAMESPACE, "port-forward", f"service/{service}", f"{local}:{PORTS[service]}"]
        listens = lambda: "Forwarding from" in log.read_text(errors="replace")  # noqa: E731
        with (
            servers.process(command, log, listens),
            httpx.Client(base_url=f"http://localhost:{local}", timeout=60, **options) as http,
        ):
            yield http

    def names_in_flows(self, prefect: httpx.Client) -> None:
        """What no-names gives the servers, for flows: they come from the pool's template, which the worker brings."""
        if "no-names" not in self.lacks:
            return
        resolver = yaml.safe_load((HERE / "installed/no-names/resolver.yaml").read_text())
        template = prefect.get("/api/work_pools/dp2o").raise_for_status().json()["base_job_template"]
        pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
        pod |= resolver["spec"]["template"]["spec"]
        pod["dnsConfig"]["nameservers"] = [HOST]
        prefect.patch("/api/work_pools/dp2o", json={"base_job_template": template}).raise_for_status()

    def run_reap(self, prefect: httpx.Client) -> str:
        """Run the smallest flow there is, in a pod that the worker starts; id of the run, completed."""
        self.names_in_flows(prefect)
        deployment = prefect.get("/api/deployments/name/reap/cluster").raise_for_status().json()["id"]
        made = prefect.post(f"/api/deployments/{deployment}/create_flow_run", json={}).raise_for_status().json()
        state = lambda: prefect.get(f"/api/flow_runs/{made['id']}").json()["state_type"]  # noqa: E731
        until(lambda: state() in {"COMPLETED", "FAILED", "CRASHED"}, 180, self.trouble)
        assert state() == "COMPLETED", self.trouble()
        return str(made["id"])
