"""Where a backbone's files are looked for."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from components.artifacts.hub import source
from components.backbones.loading import load_backbone
from components.errors import BadInput
from components.settings import SD2ControlNetSettings
from tests.made import REPOSITORY, write_params


def test_local_files_come_before_hub_ids(tmp_path: Path) -> None:
    assert source(Path("owner/name"), tmp_path) == Path("owner/name")
    (tmp_path / "owner/name").mkdir(parents=True)
    assert source(Path("owner/name"), tmp_path) == tmp_path / "owner/name"


@pytest.mark.parametrize("name", ["name", "weights/control.safetensors", "/elsewhere/name", "a/b/c"])
def test_what_is_no_hub_id_is_a_path(tmp_path: Path, name: str) -> None:
    assert source(Path(name), tmp_path) == tmp_path / name


def test_both_parts_are_located(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    settings = SD2ControlNetSettings(
        family="sd2_controlnet",
        path=Path("control"),
        base=Path("owner/sd2"),
        steps=2,
        guidance_scale=1.0,
        colour_fix="none",
    )
    found = settings.located(tmp_path)
    assert isinstance(found, SD2ControlNetSettings)
    assert (found.path, found.base) == (tmp_path / "control", Path("owner/sd2"))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    settings = write_params(tmp_path, backbone={"path": "nowhere"})
    with pytest.raises(BadInput, match=f"{tmp_path}/nowhere"):
        load_backbone(settings, tmp_path, torch.device("cpu"))


def test_families_are_imported_when_they_are_asked_for() -> None:
    code = "import sys, components.backbones.loading; print([m for m in sys.modules if m in ('torch', 'diffusers')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
