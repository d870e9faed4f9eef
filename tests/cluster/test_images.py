"""The real images, built and then run as a cluster would run them.

What has not changed comes from podman's own store: with its environment there, an image takes seconds. The first time,
or when constraints, requirements or Containerfile have changed, it takes minutes: CUDA's libraries are large.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from kubernetes import client

from components.stages import OPERATIONS, STAGES
from tests.cluster.images import ROOT, build, inputs, podman, pushed
from tests.cluster.test_rbac import admin, log_of, namespace, served, stage_job  # noqa: F401  # fixtures

RESTRICTED = (
    "--read-only", "--tmpfs", "/tmp:rw,size=512m,mode=1777", "--cap-drop", "all",
    "--security-opt", "no-new-privileges", "--user", "10001:10001",
)  # fmt: skip
SMALL = """\
import pathlib, re, sys
text = pathlib.Path("params.yaml").read_text()
text = re.sub(r"crops_per_photo: \\d+", "crops_per_photo: 1", text)
pathlib.Path(sys.argv[1]).write_text(text)
"""


def run(image: str, *command: str, options: tuple[str, ...] = ()) -> str:
    """Output of a command in a container without network, under a pod's restrictions."""
    return podman("run", "--rm", "--network", "none", *RESTRICTED, *options, image, *command)


CHOSEN = os.environ.get("DP2O_TEST_IMAGES", "components flow mlflow").split()
"""Each takes minutes where podman's store does not have it: CI builds those whose environment is not the one that was
tested last. Who tested them writes `k8s/images/build --inputs NAME` into k8s/images/tested.txt."""


def chosen(name: str) -> str:
    if name not in CHOSEN:
        pytest.skip(f"DP2O_TEST_IMAGES is '{' '.join(CHOSEN)}': the image {name} is NOT built and NOT tested")
    return build(name)


@pytest.fixture(scope="module")
def components() -> str:
    return chosen("components")


@pytest.fixture(scope="module")
def flow() -> str:
    return chosen("flow")


@pytest.fixture(scope="module")
def mlflow() -> str:
    return chosen("mlflow")


def test_a_stage_in_the_image_makes_the_bytes_that_it_makes_here(components: str, tmp_path: Path) -> None:
    """`python -m components.prepare`, read-only root, no network, an unprivileged user."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        (folder / "data").mkdir(parents=True)
        shutil.copytree(ROOT / "data" / "photos", folder / "data" / "photos")
        subprocess.run(["python", "-c", SMALL, str(folder / "params.yaml")], check=True, cwd=ROOT, timeout=1800)
    for path in (there, *there.rglob("*")):
        os.chown(path, 10001, 10001)
    options = ("--volume", f"{there}:/workspace", "--env", "OMP_NUM_THREADS=1")
    run(components, "components.prepare", "--params", "/workspace/params.yaml", options=options)
    stage = ["python", "-m", "components.prepare", "--params", str(here / "params.yaml")]
    subprocess.run(stage, check=True, cwd=ROOT, timeout=1800)
    made = {path.relative_to(here) for path in here.rglob("*") if path.is_file() and "photos" not in path.parts}
    assert {path.name for path in made} >= {"dataset.parquet", "quarantine.parquet", "prompts.parquet"}
    for path in made:
        assert (there / path).read_bytes() == (here / path).read_bytes(), path


def test_metric_weights_are_in_the_image(components: str) -> None:
    assert "all in place" in run(components, "components.metrics.weights")


def test_a_stage_runs_in_a_namespace_that_enforces_restricted(
    components: str,
    admin: client.ApiClient,  # noqa: F811
    namespace: str,  # noqa: F811
) -> None:
    """The real image, as the kubelet unpacks and runs it, mounting nothing of the node."""
    image = pushed(components, "dp2o/components")
    job = stage_job("weights", {"image": image, "args": ["components.metrics.weights"]}, memory="2Gi")
    assert "all in place" in log_of(admin, namespace, job, seconds=1200)  # gigabytes are unpacked


def test_every_stage_can_be_imported(components: str) -> None:
    code = (
        "import importlib; from components.stages import OPERATIONS, STAGES; every = [*STAGES, *OPERATIONS]; "
        "[importlib.import_module(f'components.{stage}.stage') for stage in every]; print('imported', *every)"
    )
    entry = ("--entrypoint", "python")
    assert run(components, "-c", code, options=entry).split("imported ")[1].split() == [*STAGES, *OPERATIONS]


def test_an_intake_and_the_gate_find_their_libraries(components: str) -> None:
    """Which they import when they come to need them."""
    client = "from components.storage.s3 import connect; connect(); import tenacity; print('s3')"
    options = ("--entrypoint", "python", "--env", "AWS_DEFAULT_REGION=here")
    assert run(components, "-c", client, options=options) == "s3"
    assert "--new-benchmark" in run(components, "components.register", "promote", "--help")


@pytest.mark.parametrize("name", ["components", "flow", "mlflow"])
def test_has_no_tools_to_build_with(name: str, request: pytest.FixtureRequest) -> None:
    image = request.getfixturevalue(name)
    look = "for tool in cc gcc g++ make pip; do command -v $tool; done; ls /root/.cache 2>/dev/null; true"
    found = run(image, "-c", look, options=("--entrypoint", "sh")).split()
    # what the base image itself has in its own Python is not ours
    assert not [one for one in found if not one.startswith("/usr/bin/pip")]


def test_code_is_the_last_and_a_small_layer(components: str) -> None:
    history = json.loads(podman("history", "--format", "json", components))
    layers = [one["size"] for one in history if one["size"] > 0]
    assert layers[0] < 60e6, "newest first: the code"
    assert max(layers) > 20 * layers[0]


def test_code_cannot_be_written(components: str) -> None:
    code = (
        "import os, pathlib; files = pathlib.Path('/app').rglob('*'); "
        "print(sorted({one.stat().st_uid for one in files}), os.access('/app', os.W_OK))"
    )
    assert run(components, "-c", code, options=("--entrypoint", "python")) == "[0] False"


def labels_of(image: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(podman("image", "inspect", "--format", "{{json .Config.Labels}}", image))
    return found


def test_labels_say_what_code_it_is(components: str) -> None:
    labels = labels_of(components)
    assert len(labels["org.opencontainers.image.revision"].removesuffix("-modified")) == 40
    assert labels["dev.dp2o.inputs"] == inputs("components")


@pytest.mark.parametrize("name", ["components", "flow", "mlflow"])
def test_its_list_of_packages_is_what_is_in_it(name: str, request: pytest.FixtureRequest) -> None:
    image = request.getfixturevalue(name)
    sbom = [str(ROOT / "k8s" / "images" / "sbom"), image]
    done = subprocess.run(sbom, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    purls = {one["purl"] for one in json.loads(done.stdout)["components"]}  # each has one
    look = (
        "import sysconfig; from importlib.metadata import distributions; "
        "print(*{f'{one.name}=={one.version}'.lower() for one in distributions(path=[sysconfig.get_path('purelib')])})"
    )
    installed = run(image, "-c", look, options=("--entrypoint", "/opt/venv/bin/python")).split()
    listed = {purl.removeprefix("pkg:pypi/").replace("@", "==") for purl in purls if purl.startswith("pkg:pypi/")}
    assert {one.replace("_", "-").replace(".", "-") for one in installed} == {
        one.replace("_", "-").replace(".", "-") for one in listed
    }
    debian = run(image, "-W", "-f", "${Package} ${Version}\\n", options=("--entrypoint", "dpkg-query")).splitlines()
    assert len([purl for purl in purls if purl.startswith("pkg:deb/debian/")]) == len(debian) > 50


def test_its_base_is_named_by_digest(mlflow: str) -> None:
    labels = labels_of(mlflow)
    base = labels["org.opencontainers.image.base.name"]
    assert labels["org.opencontainers.image.base.digest"] in podman("image", "inspect", "--format", "{{.Digest}}", base)


def test_two_builds_give_the_same_layers(mlflow: str) -> None:
    """The smallest image, both times from nothing."""
    layers = ("image", "inspect", "--format", "{{json .RootFS.Layers}}")
    found = []
    for _ in range(2):
        build("mlflow", "--no-cache")
        found.append(podman(*layers, mlflow))
    assert found[0] == found[1]


def test_flows_have_no_torch_and_all_else(flow: str) -> None:
    code = (
        "import importlib.util as util, prefect, prefect_kubernetes, kubernetes, dvc.repo, dvc_s3, boto3, psycopg; "
        "import pathlib, importlib; "
        "names = ['.'.join(one.with_suffix('').parts) for one in pathlib.Path('flows').rglob('[a-z]*.py')]; "
        "[importlib.import_module(name) for name in names]; "
        "print(len(names), prefect.__version__, util.find_spec('torch'))"
    )
    assert run(flow, "python", "-c", code).splitlines()[-1].endswith(" None")
    assert run(flow, "git", "--version").startswith("git version")


@pytest.mark.parametrize(
    ("name", "command", "path"),
    [
        ("flow", ("prefect", "server", "start", "--host", "127.0.0.1", "--port"), "/api/health"),
        ("mlflow", ("server", "--workers", "1", "--host", "127.0.0.1", "--port"), "/health"),
    ],
)
def test_servers_start_on_a_read_only_root(
    name: str, command: tuple[str, ...], path: str, request: pytest.FixtureRequest
) -> None:
    image = request.getfixturevalue(name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    container = podman("run", "--detach", "--network", "host", *RESTRICTED, image, *command, str(port))
    try:
        end, answer = time.monotonic() + 180, None
        while answer != 200 and time.monotonic() < end:
            time.sleep(1)
            with contextlib.suppress(httpx.HTTPError):
                answer = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code
        assert answer == 200, podman("logs", container)
    finally:
        podman("rm", "--force", "--time", "2", container)
