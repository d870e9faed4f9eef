"""How packages come into images: by digest, unless somebody builds with another torch; and the list of them."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.k8s.manifests import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

import sbom

IMAGES = ROOT / "k8s" / "images"
PIP = '#!/bin/sh\necho "$@" >> pip.log\n'
PYTHON = '#!/bin/sh\nmkdir -p "$3/bin" && cp pip "$3/bin/pip"\n'
LOCK = """\
# a comment
pip==26.3 \\
    --hash=sha256:aa
torch==2.14.1 \\
    --hash=sha256:bb \\
    --hash=sha256:cc
torchvision==0.29.1 \\
    --hash=sha256:dd
tqdm==4.70.1 \\
    --hash=sha256:ee
"""


def _make_wheels(folder: Path, **variables: str) -> tuple[list[str], str]:
    """What `make-wheels` asks of pip, in a folder as an image's first stage has it, and the pins that it gives."""
    (folder / "constraints.lock").write_text(LOCK)
    for name, text in (("pip", PIP), ("python3", PYTHON)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **variables}
    subprocess.run([str(IMAGES / "make-wheels")], cwd=folder, env=environment, check=True, timeout=300)
    return (folder / "pip.log").read_text().splitlines(), (folder / "pinned.txt").read_text()


def test_every_file_of_an_image_has_a_digest(tmp_path: Path) -> None:
    asked, pins = _make_wheels(tmp_path)
    assert asked
    assert all("--require-hashes" in one for one in asked)
    assert "--build-constraint" in asked[-1]
    assert pins == LOCK


def test_another_build_of_torch_leaves_all_others_compared(tmp_path: Path) -> None:
    asked, pins = _make_wheels(tmp_path, TORCH_BUILD="+cpu")
    assert "--no-require-hashes" in asked[-1]
    changed = LOCK.replace(" \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc", "+cpu")
    assert pins == changed.replace(" \\\n    --hash=sha256:dd", "+cpu")


def test_digests_are_left_out_on_request_only(tmp_path: Path) -> None:
    _, pins = _make_wheels(tmp_path, TORCH_BUILD="+cu130", HASHES="no")
    assert "pip==26.3\ntorch==2.14.1+cu130\ntorchvision==0.29.1+cu130\ntqdm==4.70.1\n" in pins
    assert "--hash" not in pins


def test_a_failure_says_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "constraints.lock").write_text(LOCK)
    failing = '#!/bin/sh\n[ "$1" != wheel ]\n'
    for name, text in (("pip", failing), ("python3", PYTHON)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [str(IMAGES / "make-wheels")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 1
    assert "--build-arg TORCH_BUILD=+cpu" in done.stderr


@pytest.mark.parametrize("image", ["components", "flow", "mlflow"])
def test_an_image_s_packages_come_by_these_ways_alone(image: str) -> None:
    text = (IMAGES / image / "Containerfile").read_text()
    commands = re.findall(r"^(?:RUN|    ).*", text, re.MULTILINE)
    assert not [line for line in commands if re.search(r"\bpip (install|wheel|download)\b|constraints\.txt", line)]
    label = re.search(r'dev\.dp2o\.sbom="(\S+)"', text)
    assert label is not None
    assert f"sbom.py /opt/venv/bin/python > {label[1]}" in text


def test_the_list_has_every_package_that_is_installed() -> None:
    if not shutil.which("cyclonedx-py", path=str(Path(sys.executable).parent)):
        pytest.fail("cyclonedx-py is missing: make install")
    command = [sys.executable, str(ROOT / "scripts/sbom.py"), sys.executable]
    first, again = (
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout for _ in range(2)
    )
    assert first == again
    document = json.loads(first)
    ours = [one for one in document["components"] if not one.get("purl", "").startswith("pkg:deb/")]
    listed = {(canonicalize_name(one["name"]), one["version"]) for one in ours}
    # Imports of others add the copies that setuptools brings along.
    installed = metadata.distributions(path=[sysconfig.get_path("purelib")])
    assert listed == {(canonicalize_name(one.name), one.version) for one in installed}

    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    document["components"], document["dependencies"] = document["components"][:2] + document["components"][-2:], []
    document["metadata"].pop("tools", None)  # full of addresses, which take the validator minutes
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None


def test_what_came_from_a_wheel_s_file_has_its_public_name_and_digest() -> None:
    """As in images; scanners look packages up by this name, and cyclonedx-py leaves it out."""
    hashes = [{"alg": "SHA-256", "content": "ab"}]
    file = {"type": "distribution", "url": "file:///build/wheels/zc.lockfile-4.0-py3-none-any.whl", "hashes": hashes}
    page = {"type": "website", "url": "https://example.com"}
    found = sbom.named({"name": "zc.lockfile", "version": "4.0+x", "externalReferences": [page, file]})
    assert found["purl"] == "pkg:pypi/zc-lockfile@4.0%2Bx"
    assert (found["hashes"], found["externalReferences"]) == (hashes, [page])
    folder = {"name": "ours", "version": "1", "externalReferences": [{"url": "file:///ours"}]}
    assert sbom.named(folder) == folder


def test_debian_s_packages_are_listed_as_they_are_installed() -> None:
    lines = ["libc6\t2.36-9+deb12u14\tamd64\tii ", "old\t1:2.0\tall\trc ", "git\t1:2.39.5-0\tamd64\tii "]
    found = sbom.debian_packages(lines, "12")
    assert [one["purl"] for one in found] == [
        "pkg:deb/debian/git@1%3A2.39.5-0?arch=amd64&distro=debian-12",
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12",
    ]
