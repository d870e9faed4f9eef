"""Bases and ControlNets by hub id, from a cache on this machine, by the real command; the network is never asked."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.artifacts import tables
from components.backbones.registry import load_backbone
from components.errors import ExitCode
from components.settings import Settings
from tests.backbones import tiny_flux, tiny_pipelines
from tests.made import REPOSITORY, write_dataset, write_params

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FAMILIES: dict[str, dict[str, Any]] = {
    "sd2_controlnet": {"guidance_scale": 3.5, "negative_prompt": "blur"},
    "flux_controlnet": {"guidance": 2.5, "max_sequence_length": 8},
}


def put_into_cache(home: Path, name: str, folder: Path) -> None:
    """Lay a model's folder out as the hub's client does after a download."""
    model = home / "hub" / f"models--{name.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs/main").write_text(COMMIT)
    shutil.move(folder, model / "snapshots" / COMMIT)


def settings(root: Path, family: str, base: str, control: str) -> Settings:
    backbone = {"family": family, "path": control, "base": base, "steps": 1, "scale": 4, "colour_fix": "none"}
    return write_params(
        root,
        run={"device": "cpu"},
        backbone=backbone | FAMILIES[family],
        generate={"candidates": 2, "batch": 4, "shards": 1},
        pair={"top": 1},
    )


def generate(root: Path, home: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "components.generate", "--params", str(root / "params.yaml")],
        cwd=REPOSITORY,
        env=os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def write_sd2(folder: Path) -> None:
    tiny_pipelines.write_sd_control(folder / "control", tiny_pipelines.write_sd_base(folder / "base"))


def write_flux(folder: Path) -> None:
    tiny_flux.write_base(folder / "base")
    tiny_flux.write_control(folder / "control")


@pytest.mark.slow
@pytest.mark.parametrize(("family", "write"), [("sd2_controlnet", write_sd2), ("flux_controlnet", write_flux)])
def test_hub_ids_are_read_from_the_cache(tmp_path: Path, family: str, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    write_dataset(tmp_path, ["align"])
    from_folders = settings(tmp_path, family, "base", "control")
    digest = load_backbone(from_folders, tmp_path, torch.device("cpu")).digest("reference")
    home = tmp_path / "home"
    put_into_cache(home, "lab/text-to-image", tmp_path / "base")
    put_into_cache(home, "lab/control", tmp_path / "control")
    settings(tmp_path, family, "lab/text-to-image", "lab/control")
    done = generate(tmp_path, home)
    assert done.returncode == ExitCode.OK, done.stderr[-2000:]
    rows = tables.read_rows(tmp_path / "data/candidates.parquet", tables.CANDIDATES)
    assert {row["model_digest"] for row in rows} == {digest}

    shutil.rmtree(home / "hub/models--lab--control")
    missing = generate(tmp_path, home)
    assert missing.returncode == ExitCode.BAD_INPUT
    assert "backbone.path: lab/control is neither a folder here nor a model the hub gives" in missing.stderr
    assert "Traceback" not in missing.stderr
