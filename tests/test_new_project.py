"""`dp2o init` from an installed wheel: what it makes, and that it works outside of a checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from components import template
from components.errors import BadInput
from components.pipeline import new_project
from components.pipeline.repro import check_repository
from components.stages import STAGES
from components.storage.packages import weights_folder
from tests.made import REPOSITORY, photo


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel installs, built from the files that a checkout has."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    source.mkdir()
    for name in ("components", "flows", "presets", "launch"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (
        "setup.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "params.yaml",
        "dvc.yaml",
        "weight-packages.txt",
    ):
        shutil.copy(REPOSITORY / name, source)
    build = ["wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_a_project_of_an_installed_package_runs(installed: Path, tmp_path: Path) -> None:
    """Up to its first stage: the others start the same way, and take minutes."""
    (tmp_path / "shots").mkdir()
    for number in range(14):
        Image.fromarray(photo(np.random.default_rng(number), 160)).save(tmp_path / f"shots/{number}.png")
    environment = os.environ | {"PYTHONPATH": str(installed), "DP2O_WEIGHTS": str(weights_folder())}

    def dp2o(*arguments: str, at: Path) -> subprocess.CompletedProcess[str]:
        start = "import sys; from components.cli import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", start, *arguments], cwd=at, env=environment, capture_output=True, text=True,
            check=False, timeout=300)  # fmt: skip

    made = dp2o("init", "x", "--photos", "shots", at=tmp_path)
    assert made.returncode == 0, made.stderr
    project = tmp_path / "x"
    values = yaml.safe_load((project / "params.yaml").read_text())
    expected: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    expected["prepare"]["sources"], expected["backbone"]["path"] = [str(tmp_path / "shots")], "base/restorer_flow"
    assert values == expected
    assert (project / "base/restorer_flow/model.safetensors").is_file()
    pipeline = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    assert list(pipeline) == list(STAGES)
    assert not any("components" in path for stage in pipeline.values() for path in stage["deps"])
    assert list(yaml.safe_load((project / "code.yaml").read_text())) == list(STAGES)
    ran = dp2o("run", "prepare", at=project)
    assert ran.returncode == 0, ran.stderr
    assert (project / "data/dataset.parquet").is_file()
    locked = yaml.safe_load((project / "dvc.lock").read_text())["stages"]["prepare"]
    assert locked["params"]["code.yaml"].keys() == {"prepare"}


def test_init_refuses_what_it_would_overwrite_or_cannot_find(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").touch()
    with pytest.raises(BadInput, match="full is there already and not empty"):
        new_project.create(tmp_path / "full", [])
    with pytest.raises(BadInput, match=r"--photos .*nowhere: there is no such folder"):
        new_project.create(tmp_path / "new", [tmp_path / "nowhere"])
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_other_code_is_another_dependency_of_its_stages_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "components/one").mkdir(parents=True)
    (tmp_path / "components/two.py").touch()
    stages = {"first": {"deps": ["components/one", "data"]}, "second": {"deps": ["components/two.py"]}}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    monkeypatch.setattr(template, "CODE", tmp_path)
    monkeypatch.setattr(template, "FOLDER", tmp_path)
    new_project.refresh(tmp_path)
    assert not (tmp_path / "code.yaml").exists()  # a checkout has none
    new_project.refresh(tmp_path, always=True)
    before = yaml.safe_load((tmp_path / "code.yaml").read_text())
    (tmp_path / "components/one/__pycache__").mkdir()
    (tmp_path / "components/one/__pycache__/x.pyc").touch()
    new_project.refresh(tmp_path)
    assert yaml.safe_load((tmp_path / "code.yaml").read_text()) == before
    (tmp_path / "components/one/x.py").write_text("changed")
    new_project.refresh(tmp_path)
    after = yaml.safe_load((tmp_path / "code.yaml").read_text())
    assert (after["first"] != before["first"], after["second"] == before["second"]) == (True, True)


def test_a_zip_without_git_says_what_to_do(tmp_path: Path) -> None:
    check_repository(tmp_path)  # no project at all: others say so
    shutil.copytree(REPOSITORY / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    with pytest.raises(BadInput, match=r"as a downloaded ZIP is none.*\n +git init && git add -A && git commit"):
        check_repository(tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True, timeout=300)
    check_repository(tmp_path)
