"""Images for tests on a cluster: built with `k8s/images/build`, pushed to $CLUSTER_REGISTRY, named by digest."""

import functools
import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import pytest

from components.metrics.weights import weights_folder

ROOT = Path(__file__).resolve().parents[2]
NETWORK = ("--network", "host")


def required(what: str, found: object) -> None:
    """Fail in CI, skip loudly elsewhere, if something that a test stands on is not there."""
    if not found:
        reason = f"{what} is missing: this is NOT tested"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def podman(*arguments: str) -> str:
    """Output of podman.

    Raises:
        AssertionError: with what podman said.
    """
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr[-3000:]}"
    return done.stdout.strip()


def base_options() -> tuple[str, ...]:
    """$DP2O_IMAGE_BASE, else the Containerfile's own base."""
    base = os.environ.get("DP2O_IMAGE_BASE")
    if (
        not base
        and subprocess.run(["podman", "image", "exists", "localhost/python-base"], check=False, timeout=1800).returncode
        == 0
    ):
        base = "localhost/python-base"
    return ("--build-arg", f"BASE={base}") if base else ()


def inputs(name: str) -> str:
    """Digest of what determines an image's environment."""
    build = str(ROOT / "k8s" / "images" / "build")
    return subprocess.run(
        [build, "--inputs", name], capture_output=True, text=True, check=True, timeout=1800
    ).stdout.strip()


def build(name: str, *options: str) -> str:
    """Build an image and return its local name; $DP2O_TEST_IMAGE_<NAME> names one that is ready instead.

    Raises:
        AssertionError: with the end of the build's output.
    """
    required("podman", shutil.which("podman"))
    ready = os.environ.get(f"DP2O_TEST_IMAGE_{name.upper()}")
    if ready:
        return ready
    command = [str(ROOT / "k8s" / "images" / "build"), name, *NETWORK, *base_options(), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    return f"localhost/dp2o-{name}:dev"


def pushed(image: str, name: str) -> str:
    """Push a local image; its name by digest, as pods name it."""
    registry = os.environ.get("CLUSTER_REGISTRY")
    required("CLUSTER_REGISTRY (an image registry the cluster pulls from)", registry)
    with tempfile.NamedTemporaryFile("r") as digest:
        podman("push", "-q", "--tls-verify=false", "--digestfile", digest.name, image, f"{registry}/{name}")
        return f"{registry}/{name}@{digest.read().strip()}"


def site_packages() -> Path:
    """The folder of this environment's packages."""
    return Path(sysconfig.get_path("purelib")).resolve()


def environment_folders() -> tuple[Path, ...]:
    """Folders of the node that pods of `ci_image` mount read-only, at the same paths."""
    return (site_packages(), weights_folder().resolve())


@functools.cache
def ci_image(*packages: str) -> str:
    """The code on a slim base, pushed; the environment is mounted by the pod. `packages` are Debian's, e.g. git."""
    required("podman", shutil.which("podman"))
    image = build(
        "ci",
        "--build-arg",
        f"SITE_PACKAGES={site_packages()}",
        "--build-arg",
        f"WEIGHTS={weights_folder().resolve()}",
        "--build-arg",
        f"PACKAGES={' '.join(packages)}",
    )
    return pushed(image, "dp2o/ci")
