"""The overlay `local`, installed whole on a real cluster as docs/kubernetes.md tells: does it start, and does it work?

Manifests, Secrets, images of flows and MLflow are the real ones, in the namespace `dp2o` itself: a cluster that has one
already is left alone. What a cluster forces to be different is in tests/cluster/installed, with reasons. PostgreSQL is
Debian's behind the official image's contract (tests/cluster/postgres), or what $DP2O_TEST_POSTGRES_IMAGE names.

The tests build on one another: installed, used, passwords switched on, the database restarted, uninstalled.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.cluster import names
from tests.cluster.conftest import push, unavailable
from tests.cluster.images import base_options, build, pushed
from tests.cluster.installation import HERE, NAMESPACE, PORTS, WORKLOADS, Installation, forced, kubectl
from tests.cluster.proxy import HOST, Proxy
from tests.cluster.slices import Slices
from tests.cluster.world import until
from tests.k8s.manifests import ROOT, kustomize
from tests.services import servers

OPTIONS = ("mlflow-auth", "prefect-auth", "train-nodes", "read-nodes")
TOO_MANY = 429
MEMORY = "cat /sys/fs/cgroup/memory/memory.stat /sys/fs/cgroup/memory.stat 2>/dev/null"
LOOK = """
id -u
touch /try 2>&1
touch /tmp/try && echo written
grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
ls /var/run/secrets/kubernetes.io/serviceaccount/token 2>&1
"""


@pytest.fixture(scope="module")
def installed(core: client.CoreV1Api) -> Iterator[Installation]:
    """Namespace, Secrets, overlay, in the order of docs/kubernetes.md; uninstalled in the end, whatever happened."""
    if [one for one in core.list_namespace().items if one.metadata.name == NAMESPACE]:
        unavailable(f"NOT installed: the cluster has a namespace {NAMESPACE} already, and it may be somebody's")
    lacks = forced(core.api_client)
    images = {
        "localhost/dp2o-flow": pushed(build("flow"), "dp2o/flow"),
        "localhost/dp2o-mlflow": pushed(build("mlflow"), "dp2o/mlflow"),
        "docker.io/library/postgres": os.environ.get("DP2O_TEST_POSTGRES_IMAGE")
        or push("dp2o-test-postgres", HERE / "postgres", *base_options()),
    }
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="dp2o-installed-"))
        stack.callback(shutil.rmtree, folder)
        (folder / "volume").mkdir()
        own = stack.enter_context(servers.s3())
        parts = urlsplit(own.endpoint)
        proxy = Proxy((str(parts.hostname), int(parts.port or 80)))  # where pods reach it as well
        stack.callback(proxy.cut)
        s3 = servers.S3(f"http://{HOST}:{proxy.port}", own.key, own.secret, own.bucket)
        stack.enter_context(names.serve(HOST, core) if "no-names" in lacks else nullcontext())
        made = Installation(core, folder, lacks, images, s3, "ada", secrets.token_hex(12))
        plain = made.overlay("plain")
        stack.callback(uninstall, plain)
        kubectl("apply", "-f", str(ROOT / "k8s/base/namespace.yaml"))
        random = {f"{name}-password": secrets.token_hex(24) for name in ("postgres", "prefect", "mlflow")}
        made.secret("dp2o-postgres", **random)
        made.secret("dp2o-s3", AWS_ACCESS_KEY_ID=s3.key, AWS_SECRET_ACCESS_KEY=s3.secret)
        made.apply(plain)
        yield made


def uninstall(folder: Path) -> None:
    """As the docs say; what is gone already is no failure."""
    rendered = subprocess.run(
        [*kustomize(), str(folder)], capture_output=True, text=True, check=True, timeout=1800
    ).stdout
    kubectl("delete", "--ignore-not-found", "--timeout=180s", "-f", "-", given=rendered)


@pytest.fixture(scope="module")
def used(installed: Installation) -> dict[str, str]:
    """Something in each server that has to outlive it: ids of a flow run, of a run and its artifact's path."""
    with installed.reach("dp2o-prefect") as prefect:
        environment = os.environ | {
            "PREFECT_API_URL": f"{prefect.base_url}/api", "PREFECT_HOME": str(installed.folder / "prefect"),
            "DP2O_REPOSITORY": "https://git.example.com/project.git", "DP2O_BRANCH": "main",
            "DP2O_FLOW_IMAGE": installed.images["localhost/dp2o-flow"],
        }  # fmt: skip
        # step 3 of the docs
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--name", "*/cluster"]
        done = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, timeout=1800)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        flow_run = installed.run_reap(prefect)
    with installed.reach("dp2o-mlflow") as mlflow:
        made = mlflow.post("/api/2.0/mlflow/experiments/create", json={"name": "kept"}).raise_for_status().json()
        body = {"experiment_id": made["experiment_id"], "run_name": "kept", "start_time": 0}
        run = mlflow.post("/api/2.0/mlflow/runs/create", json=body).raise_for_status().json()["run"]
        metric = {"run_id": run["info"]["run_id"], "key": "reward", "value": 0.5, "timestamp": 0, "step": 0}
        mlflow.post("/api/2.0/mlflow/runs/log-metric", json=metric).raise_for_status()
        path = run["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/") + "/said.txt"
        mlflow.put(f"/api/2.0/mlflow-artifacts/artifacts/{path}", content=b"kept").raise_for_status()
    return {"flow_run": flow_run, "run": run["info"]["run_id"], "artifact": path}


@pytest.fixture(scope="module")
def locked(installed: Installation, used: dict[str, str]) -> dict[str, str]:
    """The same installation with the options for passwords: Secrets, and the overlay applied again."""
    ini = ("[mlflow]\ndefault_permission = READ\nadmin_username = ada\nauth_cache_ttl_seconds = 60\n"
           "database_uri = postgresql+psycopg://mlflow@dp2o-postgres:5432/mlflow\n")  # fmt: skip
    keys = {"basic_auth__ini": ini, "admin-password": installed.password, "flask-key": secrets.token_hex(16)}
    installed.secret("dp2o-mlflow-auth", **keys)
    login = {"MLFLOW_TRACKING_USERNAME": installed.user, "MLFLOW_TRACKING_PASSWORD": installed.password}
    installed.secret("dp2o-mlflow", **login)
    installed.secret("dp2o-prefect", **{"auth-string": f"{installed.user}:{installed.password}"})
    before = {role: installed.pod(role).metadata.uid for role in ("prefect", "mlflow")}
    installed.apply(installed.overlay("locked", OPTIONS))
    assert all(installed.pod(role).metadata.uid != uid for role, uid in before.items())
    return used


def test_everything_starts_at_the_first_attempt(installed: Installation) -> None:
    for role in WORKLOADS:
        status = installed.pod(role).status
        seen = {one.name: (one.ready, one.restart_count)
                for one in [*(status.init_container_statuses or ()), *status.container_statuses]}  # fmt: skip
        assert set(seen.values()) == {(True, 0)}, f"{role}: {seen}\n{installed.trouble()}"
    (claim,) = installed.core.list_namespaced_persistent_volume_claim(NAMESPACE).items
    assert claim.status.phase == "Bound"


@pytest.mark.parametrize("service", PORTS)
def test_a_service_leads_to_its_pod(installed: Installation, service: str) -> None:
    (endpoint,) = Slices().of(service, NAMESPACE)
    assert endpoint.pod == installed.pod(service.removeprefix("dp2o-")).metadata.name
    assert endpoint.ports == (PORTS[service],)
    assert [port.port for port in installed.core.read_namespaced_service(service, NAMESPACE).spec.ports] == [
        PORTS[service]
    ]


@pytest.mark.parametrize("role", WORKLOADS)
def test_a_pod_runs_restricted_and_can_write_nothing_but_its_volumes(installed: Installation, role: str) -> None:
    user, root, written, *rest, token = installed.inside(role, LOOK).splitlines()
    assert user == ("999" if role == "postgres" else "10001")
    assert "Read-only file system" in root
    assert written == "written"
    none = "0" * 16
    assert dict(line.split(":\t") for line in rest) == {
        "CapEff": none, "CapBnd": none, "NoNewPrivs": "1", "Seccomp": "2"
    }  # fmt: skip
    assert ("No such file" not in token) == (role == "worker"), "only the worker talks to Kubernetes"


@pytest.mark.parametrize("role", WORKLOADS)
def test_a_server_has_room_below_its_memory_limit(installed: Installation, used: dict[str, str], role: str) -> None:
    """A server that fills its limit when nobody uses it is killed by whoever does."""
    stat = dict(line.split() for line in installed.inside(role, MEMORY).splitlines())
    held = int(stat.get("total_rss") or stat["anon"])
    (container,) = [one for one in installed.pod(role).spec.containers if one.name == role]
    limit = container.resources.limits["memory"]
    allowed = float(limit[:-2]) * {"Mi": 2**20, "Gi": 2**30}[limit[-2:]]
    assert held < 0.5 * allowed, f"{role} holds {held / 2**20:.0f} MiB of {limit}"


def test_prefect_has_the_pool_a_worker_and_the_deployments(installed: Installation, used: dict[str, str]) -> None:
    with installed.reach("dp2o-prefect") as prefect:
        assert prefect.get("/api/health").json() is True
        pool = prefect.get("/api/work_pools/dp2o").raise_for_status().json()
        assert (pool["type"], pool["status"]) == ("kubernetes", "READY")
        workers = prefect.post("/api/work_pools/dp2o/workers/filter", json={}).raise_for_status().json()
        assert [one["status"] for one in workers] == ["ONLINE"]
        deployments = prefect.post("/api/deployments/filter", json={}).raise_for_status().json()
        made = {(one["entrypoint"].partition(":")[2], one["work_pool_name"]) for one in deployments}
        assert made == {(name, "dp2o") for name in ("align", "promote", "retrain", "reap")}


def test_a_flow_has_run_in_a_pod_of_its_own(installed: Installation, used: dict[str, str]) -> None:
    batch = client.BatchV1Api(installed.core.api_client)
    label = f"prefect.io/flow-run-id={used['flow_run']}"
    # a run is completed before its pod has ended
    until(lambda: batch.list_namespaced_job(NAMESPACE, label_selector=label).items[0].status.succeeded == 1, 120)
    (job,) = batch.list_namespaced_job(NAMESPACE, label_selector=label).items
    assert job.spec.template.spec.service_account_name == "dp2o-flow"
    log = kubectl("-n", NAMESPACE, "logs", f"job/{job.metadata.name}")
    assert "nothing to delete in namespace dp2o" in log, "it asked Kubernetes' API with its own account"


def test_an_artifact_goes_through_mlflow_to_s3(installed: Installation, used: dict[str, str]) -> None:
    key = f"mlflow/{used['artifact']}"
    assert installed.s3.client().get_object(Bucket=installed.s3.bucket, Key=key)["Body"].read() == b"kept"


def test_with_passwords_nobody_else_is_let_in(installed: Installation, locked: dict[str, str]) -> None:
    with installed.reach("dp2o-prefect") as prefect:
        assert prefect.get("/api/health").status_code == 200, "probes have no password"
        assert prefect.post("/api/deployments/filter", json={}).status_code == 401
        assert prefect.post("/api/deployments/filter", json={}, auth=("ada", "wrong")).status_code == 401
    with installed.reach("dp2o-mlflow") as mlflow:
        query = {"url": "/api/2.0/mlflow/experiments/get-by-name", "params": {"experiment_name": "kept"}}
        assert mlflow.get("/health").status_code == 200
        assert mlflow.get(**query).status_code == 401
        assert mlflow.get(**query, auth=("ada", "wrong")).status_code == 401
        artifact = f"/api/2.0/mlflow-artifacts/artifacts/{locked['artifact']}"
        assert mlflow.get(artifact).status_code == 401


def kept(installed: Installation, ids: dict[str, str]) -> None:
    """What was put in before is there, for who has the password."""
    login = {"auth": (installed.user, installed.password)}
    with installed.reach("dp2o-prefect", **login) as prefect:
        assert prefect.get(f"/api/flow_runs/{ids['flow_run']}").raise_for_status().json()["state_type"] == "COMPLETED"
        deployments = prefect.post("/api/deployments/filter", json={}).raise_for_status().json()
        assert len(deployments) == 4
    with installed.reach("dp2o-mlflow", **login) as mlflow:
        found = mlflow.get("/api/2.0/mlflow/runs/get", params={"run_id": ids["run"]}).raise_for_status().json()["run"]
        assert found["data"]["metrics"][0]["value"] == 0.5
        artifact = mlflow.get(f"/api/2.0/mlflow-artifacts/artifacts/{ids['artifact']}").raise_for_status()
        assert artifact.content == b"kept"


def test_new_servers_find_what_was_there(installed: Installation, locked: dict[str, str]) -> None:
    kept(installed, locked)


def test_worker_and_flow_have_the_password(installed: Installation, locked: dict[str, str]) -> None:
    """The worker is not told to start again: refused, it ends, and the next one reads the Secret."""
    with installed.reach("dp2o-prefect", auth=(installed.user, installed.password)) as prefect:
        installed.run_reap(prefect)


def test_the_database_may_restart_below_the_servers(installed: Installation, locked: dict[str, str]) -> None:
    dump = kubectl("-n", NAMESPACE, "exec", "dp2o-postgres-0", "--", "pg_dumpall", "-U", "postgres")
    assert dump.rstrip().endswith("PostgreSQL database cluster dump complete\n--")
    # a drain is refused, which is what the budget is for
    eviction = {"apiVersion": "policy/v1beta1" if "no-policy-v1" in installed.lacks else "policy/v1",
                "kind": "Eviction", "metadata": {"name": "dp2o-postgres-0", "namespace": NAMESPACE}}  # fmt: skip
    with pytest.raises(ApiException) as refused:
        installed.core.create_namespaced_pod_eviction("dp2o-postgres-0", NAMESPACE, eviction)
    assert refused.value.status == TOO_MANY
    kubectl("-n", NAMESPACE, "delete", "pod", "dp2o-postgres-0")
    installed.wait()
    kept(installed, locked)
    for role in ("prefect", "mlflow"):
        assert [one.restart_count for one in installed.pod(role).status.container_statuses] == [0]


def test_uninstall_leaves_nothing(installed: Installation, locked: dict[str, str]) -> None:
    uninstall(installed.folder / "locked")
    assert NAMESPACE not in {one.metadata.name for one in installed.core.list_namespace().items}
    classes = client.SchedulingV1Api(installed.core.api_client).list_priority_class().items
    volumes = installed.core.list_persistent_volume().items
    ours = [one.metadata.name for one in [*classes, *volumes] if one.metadata.name.startswith("dp2o-")]
    assert not ours
    found = installed.s3.client().list_objects_v2(Bucket=installed.s3.bucket, Prefix="mlflow/")
    assert found["KeyCount"] == 1, "S3 is left alone"
