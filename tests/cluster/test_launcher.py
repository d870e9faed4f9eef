"""The kubernetes launcher on a real cluster."""

import os
import subprocess
import sys
import textwrap
import time
from typing import Any

import pytest
from kubernetes import client

from flows.launchers.api import load_configuration
from flows.launchers.base import Failure, Outcome, State, Work
from flows.launchers.settings import Resources
from tests.cluster.conftest import Place, unavailable, until
from tests.flows.launchers.waiter import Waiter

pytestmark = pytest.mark.slow


def work(*command: str, shard: str = "whole", attempt: int = 0, gpus: int = 0) -> Work:
    return Work("run-1", "stage", shard, attempt, command, gpus, {"ATTEMPT": str(attempt)})


def test_a_job_succeeds_and_its_log_arrives(place: Place) -> None:
    launcher = place.launcher()
    handle = launcher.submit(work("lines", "20", "0.1"))
    waiter = Waiter(launcher, handle)
    assert waiter.outcome() == Outcome(State.SUCCEEDED, exit_code=0)
    assert waiter.states[-1] is State.SUCCEEDED
    assert State.RUNNING in waiter.states
    expected = ["began lines on attempt 0", *(f"line {number}" for number in range(20)), "done"]
    assert waiter.lines == expected
    assert list(launcher.logs(handle)) == expected


def test_a_job_too_short_to_be_seen_running_is_told_whole(place: Place) -> None:
    launcher = place.launcher()
    waiter = Waiter(launcher, launcher.submit(work("clock")))
    assert waiter.outcome().state is State.SUCCEEDED
    assert waiter.lines[:2] == ["began clock on attempt 0", "done"]


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (1, Failure.CRASHED),
        (2, Failure.BAD_INPUT),
        (3, Failure.REFUSED),
        (65, Failure.CORRUPT_INPUT),
        (75, Failure.RESUME_LATER),
    ],
)
def test_an_exit_code_has_a_name(place: Place, code: int, failure: Failure) -> None:
    launcher = place.launcher()
    outcome = launcher.wait(launcher.submit(work("exit", str(code))))
    assert (outcome.state, outcome.failure, outcome.exit_code) == (State.FAILED, failure, code)
    assert "last words" in outcome.detail


def test_a_pod_may_write_where_it_should_and_has_no_token(place: Place) -> None:
    launcher = place.launcher()
    handle = launcher.submit(work("write"))
    waiter = Waiter(launcher, handle)
    assert waiter.outcome().state is State.SUCCEEDED, waiter.lines
    assert "token False 10001" in waiter.lines
    assert any(line.startswith("refused:") for line in waiter.lines)


def test_too_much_memory_is_named(place: Place) -> None:
    launcher = place.launcher(resources={"default": Resources(cpu="50m", memory="48Mi")})
    outcome = launcher.wait(launcher.submit(work("memory", "400")))
    assert (outcome.failure, outcome.exit_code) == (Failure.OUT_OF_MEMORY, 137)


def test_an_image_that_cannot_be_pulled_is_named_and_frees_its_gpu(place: Place, one_gpu: None) -> None:
    missing = place.image.split("@")[0] + ":no-such-tag"
    launcher = place.launcher(image=missing, image_grace=5)
    outcome = launcher.wait(launcher.submit(work("exit", "0", gpus=1)))
    assert outcome.failure is Failure.IMAGE_PULL
    assert "no-such-tag" in outcome.detail
    assert "not found" in outcome.detail or "manifest unknown" in outcome.detail
    assert place.jobs() == []
    after = place.launcher()
    assert after.wait(after.submit(work("exit", "0", shard="after", gpus=1))).state is State.SUCCEEDED


def test_a_secret_that_is_missing_is_named(place: Place) -> None:
    launcher = place.launcher(secrets=("no-such-secret",), image_grace=3)
    outcome = launcher.wait(launcher.submit(work("exit", "0")))
    assert outcome.failure is Failure.REJECTED
    assert 'secret "no-such-secret" not found' in outcome.detail


def test_more_gpus_than_there_are_is_unschedulable(place: Place, one_gpu: None) -> None:
    launcher = place.launcher(unschedulable_grace=4)
    outcome = launcher.wait(launcher.submit(work("exit", "0", gpus=99)))
    assert outcome.failure is Failure.UNSCHEDULABLE
    assert "Insufficient dp2o.test/gpu" in outcome.detail
    assert place.jobs() == []


def test_a_job_waits_for_the_gpu_another_has(place: Place, one_gpu: None) -> None:
    launcher = place.launcher(unschedulable_grace=2)
    holder = launcher.submit(work("sleep", "300", gpus=1))
    until(place.running)
    waiter = Waiter(launcher, launcher.submit(work("exit", "0", shard="next", gpus=1)))
    time.sleep(6)  # longer than the grace time of what fits nowhere
    assert waiter.waits
    assert waiter.states == [State.PENDING]
    launcher.delete(holder)
    assert waiter.outcome().state is State.SUCCEEDED


def test_the_queue_timeout_ends_the_waiting(place: Place, one_gpu: None) -> None:
    launcher = place.launcher()
    launcher.submit(work("sleep", "300", gpus=1))
    until(place.running)
    impatient = place.launcher(queue_timeout=4)
    outcome = impatient.wait(impatient.submit(work("exit", "0", shard="next", gpus=1)))
    assert outcome.failure is Failure.QUEUE_TIMEOUT
    assert "Insufficient dp2o.test/gpu" in outcome.detail
    assert len(place.jobs()) == 1


def test_the_run_timeout_counts_from_the_start(place: Place, one_gpu: None) -> None:
    launcher = place.launcher(run_timeout=8)
    began = time.monotonic()
    first = Waiter(launcher, launcher.submit(work("sleep", "300", gpus=1)))
    until(place.running)
    second = Waiter(launcher, launcher.submit(work("sleep", "3", shard="next", gpus=1)))
    assert first.outcome().failure is Failure.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 40
    assert second.outcome().state is State.SUCCEEDED  # its time in the queue was not taken from its run


def quota(place: Place, **hard: str) -> None:
    body = {
        "metadata": {"name": "q"},
        "spec": {"hard": {name.replace("_", "."): value for name, value in hard.items()}},
    }
    place.core.create_namespaced_resource_quota(place.name, body)
    until(lambda: place.core.read_namespaced_resource_quota("q", place.name).status.hard)


def test_a_quota_it_can_never_fit_is_rejected(place: Place) -> None:
    quota(place, limits_memory="10Mi")
    try:
        launcher = place.launcher()
        outcome = launcher.wait(launcher.submit(work("exit", "0")))
    finally:
        place.core.delete_namespaced_resource_quota("q", place.name)
    assert outcome.failure is Failure.REJECTED
    assert "exceeded quota: q" in outcome.detail
    assert place.jobs() == []


def test_a_template_the_cluster_refuses_is_rejected(place: Place) -> None:
    text = place.template.read_text()
    place.template.write_text(text.replace("mountPath: /tmp", "mountPath: /dev/shm"))
    launcher = place.launcher()
    outcome = launcher.wait(launcher.submit(work("exit", "0")))
    assert outcome.failure is Failure.REJECTED
    assert "must be unique" in outcome.detail


@pytest.mark.parametrize(
    ("command", "failures"),
    [("sleep", {Failure.EVICTED}), ("polite", {Failure.RESUME_LATER, Failure.EVICTED})],
)
def test_a_pod_deleted_while_it_runs(place: Place, command: str, failures: set[Failure]) -> None:
    launcher = place.launcher()
    waiter = Waiter(launcher, launcher.submit(work(command, "20")))
    until(place.running)
    place.core.delete_namespaced_pod(place.running()[0].metadata.name, place.name)
    outcome = waiter.outcome()
    assert outcome.state is State.SUCCEEDED or outcome.failure in failures  # older clusters run the pod again


def test_a_job_another_deletes_is_lost(place: Place) -> None:
    launcher = place.launcher()
    handle = launcher.submit(work("sleep", "300"))
    waiter = Waiter(launcher, handle)
    until(place.running)
    place.batch.delete_namespaced_job(handle, place.name, propagation_policy="Background")
    assert waiter.outcome().failure is Failure.LOST


FLOW = """
    import sys
    from pathlib import Path
    from flows.launchers.base import Work
    from flows.launchers.kubernetes import KubernetesLauncher
    from flows.launchers.settings import KubernetesSettings
    launcher = KubernetesLauncher(KubernetesSettings.model_validate_json(sys.argv[1]))
    handle = launcher.submit(Work("run-1", "stage", "whole", 0, tuple(sys.argv[2:]), 0, {"ATTEMPT": "0"}))
    launcher.wait(handle, on_line=print)
"""


def test_a_flow_that_is_killed_and_started_again_adopts_its_job(place: Place) -> None:
    launcher = place.launcher()
    settings = launcher._settings.model_dump_json()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    flow = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(FLOW), settings, "lines", "12", "1"], env=environment
    )
    until(place.running, 60)
    flow.kill()
    flow.wait()
    time.sleep(2)
    waiter = Waiter(launcher, launcher.submit(work("lines", "12", "1")))
    assert waiter.outcome().state is State.SUCCEEDED
    assert len(place.jobs()) == len(place.pods()) == 1
    assert waiter.lines[-1] == "done"
    assert "line 0" not in waiter.lines  # the flow before this one has told it


def test_the_api_server_killed_in_the_middle(place: Place) -> None:
    restart = os.environ.get("CLUSTER_RESTART_API")
    if not restart:
        unavailable(
            "NOT TESTED: an API server that dies. Set CLUSTER_RESTART_API to a shell command that kills it (signal 9) "
            "and has it started again"
        )
    launcher = place.launcher()
    waiters = [
        Waiter(launcher, launcher.submit(work("lines", "25", "1", shard="long"))),
        Waiter(launcher, launcher.submit(work("exit", "65", shard="short"))),
    ]
    until(place.running)
    subprocess.run(
        ["bash", "-c", str(restart)], check=True, stdout=subprocess.DEVNULL, env=dict(os.environ), timeout=1800
    )
    waiters.append(Waiter(launcher, launcher.submit(work("exit", "0", shard="after"))))
    assert waiters[0].outcome(120).state is State.SUCCEEDED
    assert waiters[1].outcome().failure is Failure.CORRUPT_INPUT
    assert waiters[2].outcome().state is State.SUCCEEDED
    told = [line for line in waiters[0].lines if line.startswith("line ")]
    assert len(told) == len(set(told))
    assert waiters[0].lines[-1] == "done"


def role(place: Place, *rules: dict[str, list[str]]) -> client.Configuration:
    """Access with these rights and no others."""
    name = f"limited-{len(rules)}-{int(time.time())}"
    rbac = client.RbacAuthorizationV1Api(place.core.api_client)
    place.core.create_namespaced_service_account(place.name, {"metadata": {"name": name}})
    rbac.create_namespaced_role(place.name, {"metadata": {"name": name}, "rules": list(rules)})
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": place.name}],
    }
    rbac.create_namespaced_role_binding(place.name, binding)
    request = {"spec": {"audiences": [], "expirationSeconds": 3600}}
    token = place.core.create_namespaced_service_account_token(name, place.name, request).status.token
    limited = load_configuration()
    limited.cert_file = limited.key_file = None
    limited.api_key = {"authorization": f"Bearer {token}"}
    return limited


FLOW_RIGHTS: tuple[dict[str, list[str]], ...] = (
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "list", "watch", "delete"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
)


def test_the_rights_of_a_flow_suffice_and_no_others_are_there(place: Place, one_gpu: None) -> None:
    limited = role(place, *FLOW_RIGHTS)
    launcher = place.launcher(limited, unschedulable_grace=3)
    waiter = Waiter(launcher, launcher.submit(work("lines", "5", "0.2")))
    assert waiter.outcome().state is State.SUCCEEDED
    assert waiter.lines[-1] == "done"
    unschedulable = launcher.wait(launcher.submit(work("exit", "0", shard="wide", gpus=99)))
    assert unschedulable.failure is Failure.UNSCHEDULABLE  # asks for pods and events
    launcher.close()
    assert place.jobs() == []
    core = client.CoreV1Api(client.ApiClient(limited))
    body: dict[str, Any] = {"metadata": {"name": "x"}}
    for refused in (
        lambda: core.list_namespaced_secret(place.name),
        lambda: core.list_namespaced_config_map(place.name),
        lambda: core.create_namespaced_pod(place.name, {**body, "spec": {"containers": [{"name": "x", "image": "x"}]}}),
        lambda: core.delete_namespaced_pod("x", place.name),
        lambda: core.list_namespaced_pod("default"),
        core.list_node,
        core.list_namespace,
        lambda: client.BatchV1Api(core.api_client).patch_namespaced_job("x", place.name, {}),
        lambda: client.BatchV1Api(core.api_client).delete_collection_namespaced_job(place.name),
    ):
        with pytest.raises(client.exceptions.ApiException) as caught:
            refused()
        assert caught.value.status == 403


@pytest.mark.parametrize("missing", ["create"])
def test_a_missing_right_is_named(place: Place, missing: str) -> None:
    rules = [{**rule, "verbs": [verb for verb in rule["verbs"] if verb != missing]} for rule in FLOW_RIGHTS]
    launcher = place.launcher(role(place, *rules))
    outcome = launcher.wait(launcher.submit(work("exit", "0")))
    assert outcome.failure is Failure.REJECTED
    assert f'cannot {missing} resource "jobs"' in outcome.detail


def test_nothing_is_left_a_minute_after_delete(place: Place) -> None:
    launcher = place.launcher()
    handles = [launcher.submit(work("sleep", "300", shard=str(number))) for number in range(3)]
    waiters = [Waiter(launcher, handle) for handle in handles]
    until(lambda: len(place.running()) == 3, 60)
    launcher.close()
    assert {waiter.outcome().failure for waiter in waiters} == {Failure.CANCELLED}
    until(
        lambda: not place.jobs() and not [pod for pod in place.pods() if pod.status.phase in ("Pending", "Running")], 60
    )
    until(lambda: not place.pods(), 180)  # ended pods stay until a busy kubelet has cleared their volumes
