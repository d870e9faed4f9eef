"""What goes into images, as far as it can be told without building one (tests/cluster/test_images.py builds)."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.k8s.manifests import ROOT

IMAGES = ("components", "flow", "mlflow", "ci")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=!~;\s]", requirement.lower(), maxsplit=1)[0]


def _lines(image: str) -> list[str]:
    lines = (ROOT / "k8s" / "images" / image / "requirements.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def _required(image: str) -> set[str]:
    return {_name(line) for line in _lines(image)}


def _text(image: str) -> str:
    return (ROOT / "k8s" / "images" / image / "Containerfile").read_text()


def test_images_need_what_the_project_needs() -> None:
    declared = {_name(requirement) for requirement in PROJECT["dependencies"]}
    extras = {_name(requirement) for requirement in PROJECT["optional-dependencies"]["openlineage"]}
    metrics = {"ssimulacra2", "vmaf-torch"}  # small; those of text_error are large, and need an older Python
    assert metrics <= {_name(requirement) for requirement in PROJECT["optional-dependencies"]["fidelity"]}
    assert _required("components") | _required("flow") | _required("mlflow") == declared | extras | metrics


OF_A_CHECKOUT = {
    ROOT / "components/cleaning/places.py": {"dvc", "dvc_data"},
    ROOT / "components/export/onnx_file.py": {"onnx", "onnxruntime"},
    ROOT / "components/metrics/text_error.py": {"rapidocr_onnxruntime"},
    ROOT / "components/pipeline/new_project.py": {"ruamel"},
    ROOT / "components/pipeline/repro.py": {"dvc"},
    ROOT / "components/pipeline/files.py": {"ruamel"},
    ROOT / "components/pipeline/status.py": {"dvc"},
    ROOT / "components/storage/dvc_inputs.py": {"dvc", "dvc_data"},
}
"""Code that works on a person's project, or in a flow, and never in a stage's pod; and what that alone imports. A
metric that no image has is refused there by its name."""


def _installed_in(image: str) -> set[str]:
    """Packages that pip puts into an image, with all that they require, as installed here."""
    waiting = [Requirement(line) for line in _lines(image)]
    found: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        entry = (str(canonicalize_name(wanted.name)), frozenset(wanted.extras))
        if entry in found:
            continue
        found.add(entry)
        for line in metadata.requires(wanted.name) or ():
            more = Requirement(line)
            extras = ("", *wanted.extras)
            if more.marker is None or any(more.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(more)
    return {name for name, _ in found}


def _imports(file: Path) -> Iterator[str]:
    """First names of all modules of others that a file imports, where and when ever it does."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
        for name in names:
            first = name.partition(".")[0]
            if first not in sys.stdlib_module_names and first not in ("components", "flows"):
                yield first


@pytest.mark.parametrize(("image", "code"), [("components", "components"), ("flow", "flows")])
def test_an_image_has_every_package_that_its_code_imports(image: str, code: str) -> None:
    """Also within functions: nobody sees those imports before the pod that fails of them."""
    installed, of_packages = _installed_in(image), metadata.packages_distributions()
    missing = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in (ROOT / code).rglob("*.py")
        for name in set(_imports(file)) - OF_A_CHECKOUT.get(file, set())
        if not {canonicalize_name(package) for package in of_packages.get(name, ())} & installed
    }
    assert not missing


def test_every_requirement_is_pinned() -> None:
    pinned = {_name(line) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    for image in ("components", "flow", "mlflow"):
        assert _required(image) <= pinned


def test_flows_have_no_torch_and_stages_no_orchestration() -> None:
    assert not _required("flow") & {"torch", "torchvision", "diffusers", "transformers", "pyiqa", "timm"}
    assert not _required("components") & {"prefect", "prefect-kubernetes", "kubernetes", "dvc", "dvc-s3"}


@pytest.mark.parametrize("image", IMAGES)
def test_ends_as_an_unprivileged_user_with_the_code_last(image: str) -> None:
    final = _text(image).rpartition("FROM ")[2]
    assert re.findall(r"^USER (.*)$", final, re.MULTILINE) == ["10001:10001"]
    layers = re.findall(r"^(?:RUN|COPY).*$", final, re.MULTILINE)
    if image != "mlflow":
        assert "/app" in layers[-1]


@pytest.mark.parametrize("image", IMAGES)
def test_names_no_index_and_no_compiler(image: str) -> None:
    scripts = [(ROOT / "k8s" / "images" / name).read_text() for name in ("make-wheels", "install-wheels")]
    for text in (_text(image), *scripts):
        assert not re.search(r"https?://|index-url|gcc|build-essential|--trusted-host", text)
        assert "PIP_NO_CACHE_DIR=1" in text or not re.search(r"\bpip (install|wheel)|bin/pip", text)


@pytest.mark.parametrize("image", ["components", "flow", "mlflow"])
def test_other_wheels_are_another_layer(image: str) -> None:
    """What a layer mounts counts for no cache; a build argument does, from where it is declared on."""
    for stage in re.split(r"^FROM ", _text(image), flags=re.MULTILINE):
        for mounting in re.finditer(r"^RUN --mount=type=bind,from=wheels", stage, re.MULTILINE):
            assert re.search(r"^ARG (INPUTS|TORCH)=", stage[: mounting.start()], re.MULTILINE)
        if last := list(re.finditer(r"^RUN --mount=type=bind,from=wheels", stage, re.MULTILINE)):
            assert re.search(r"^ARG INPUTS=", stage[: last[-1].start()], re.MULTILINE)


def test_what_places_the_weights_is_whole_in_its_own_layer(tmp_path: Path) -> None:
    """Its layer has a part of the code, so that other code does not make it again; that part imports no more."""
    layer = re.split(r"^FROM ", _text("components"), flags=re.MULTILINE)[3]
    assert layer.startswith("environment AS weights")
    for line in re.findall(r"^COPY (components.*)$", layer, re.MULTILINE):
        *sources, place = line.split()
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / place, dirs_exist_ok=True)
            else:
                shutil.copy(ROOT / source, tmp_path / place)
    run = re.findall(r"^RUN python -m (\S+)$", layer, re.MULTILINE)
    assert run == ["components.metrics.weights"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}
    code = f"import {run[0]} as it; print(it.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(str(tmp_path))


def test_the_base_can_be_chosen() -> None:
    for image in IMAGES:
        assert re.search(r"^ARG BASE=\S+:(?!latest)\S+$", _text(image), re.MULTILINE)
        assert set(re.findall(r"^FROM (\S+)", _text(image), re.MULTILINE)) <= {"${BASE}", "environment"}


def test_inputs_follow_what_they_are_made_of() -> None:
    def digest(image: str) -> str:
        command = [str(ROOT / "k8s" / "images" / "build"), "--inputs", image]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout.strip()

    digests = {image: digest(image) for image in IMAGES}
    assert len(set(digests.values())) == len(IMAGES)
    assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in digests.values())


def test_an_unknown_image_is_refused_with_those_that_exist() -> None:
    done = subprocess.run(
        [str(ROOT / "k8s" / "images" / "build"), "nothing"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 2
    assert "ci components flow mlflow" in done.stderr


def test_the_weights_are_made_of_the_code_that_is_copied_for_them(tmp_path: Path) -> None:
    """That layer is made before the other code is there, so that it stays when only that changes."""
    stage = _text("components").partition(" AS weights\n")[2].partition("\nFROM ")[0]
    copied = [line.split()[1:-1] for line in stage.splitlines() if line.startswith("COPY components")]
    for name in (name for names in copied for name in names):
        place = tmp_path / name
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, place)
    script = (
        "import sys; sys.meta_path = [one for one in sys.meta_path if 'editable' not in repr(one).lower()]\n"
        f"sys.path = [{str(tmp_path)!r}, *(one for one in sys.path if one)]\n"
        "import components.metrics.weights as weights; print(weights.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.startswith(str(tmp_path)), done.stderr
