"""Bases and ControlNets of the hub, from a cache on this machine, by the real stage; the network is never asked."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from components.artifacts import tables
from components.backbones.loading import load_backbone
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


def generate(roots: list[Path], home: Path) -> tuple[list[int], str]:
    """The stage in each of the folders, all in one process that finds that cache; exit codes, and standard error."""
    script = """
import sys
from pathlib import Path
from components.entry.main import run_stage
print(*(int(run_stage("generate", Path(root) / "params.yaml")) for root in sys.argv[1:]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, roots)],
        cwd=REPOSITORY,
        env=os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [int(code) for code in done.stdout.split()], done.stderr


def write_sd2(folder: Path) -> None:
    tiny_pipelines.write_sd_control(folder / "control", tiny_pipelines.write_sd_base(folder / "base"))


def write_flux(folder: Path) -> None:
    tiny_flux.write_base(folder / "base")
    tiny_flux.write_control(folder / "control")


@pytest.mark.slow
def test_models_of_the_hub_are_read_from_the_cache(tmp_path: Path) -> None:
    home = tmp_path / "home"
    there, digests = [], []
    for family, write in {"sd2_controlnet": write_sd2, "flux_controlnet": write_flux}.items():
        root = tmp_path / family
        root.mkdir()
        write(root)
        write_dataset(root, ["align"])
        from_folders = settings(root, family, "base", "control")
        digests.append(load_backbone(from_folders, root, torch.device("cpu")).digest("reference"))
        put_into_cache(home, f"{family}/text-to-image", root / "base")
        put_into_cache(home, f"{family}/control", root / "control")
        settings(root, family, f"hf://{family}/text-to-image", f"hf://{family}/control@{COMMIT}")
        there.append(root)
        shutil.copytree(root, tmp_path / f"{family}-missing")
        settings(tmp_path / f"{family}-missing", family, f"hf://{family}/text-to-image", "hf://lab/control@main")

    codes, errors = generate([*there, *(root.with_name(f"{root.name}-missing") for root in there)], home)
    assert codes == [ExitCode.OK, ExitCode.OK, ExitCode.BAD_INPUT, ExitCode.BAD_INPUT], errors[-3000:]
    for root, digest in zip(there, digests, strict=True):
        rows = tables.read_rows(root / "data/candidates.parquet", tables.CANDIDATES)
        assert {row["model_digest"] for row in rows} == {digest}
    said = "backbone.path: hf://lab/control@main is not in this machine's cache, and the hub was not asked"
    assert errors.count(said) == 2
    assert "Traceback" not in errors
