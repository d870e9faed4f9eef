"""`dp2o preset`, `dp2o run` and the real `dvc repro` on tiny models of the presets' own classes, from photos to the
registry."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from diffusers import ControlNetModel, FluxControlNetModel
from PIL import Image

from components.artifacts import tables
from components.settings import load_settings
from tests.backbones import tiny_flux, tiny_pipelines
from tests.made import REPOSITORY, photo
from tests.noise import not_ours

SIDE = 32
M = 4
STAGES = ["prepare", "generate", "score", "pair", "train", "evaluate", "report", "register"]
SMALL: dict[str, dict[str, Any]] = {
    "run": {"device": "cpu", "threads": 1},
    "prepare": {"crop": SIDE, "min_side": SIDE, "split": {"align": 0.5, "validation": 0.25, "test": 0.25}},
    "backbone": {"path": "models/base/control", "base": "models/base/pipeline", "steps": 2, "sample_block": 4},
    "generate": {"candidates": M, "batch": M, "shards": 1},
    "score": {"fr": ["psnr"], "nr": [], "held_out": ["ssim"]},  # the paper's need weights that no package ships
    "pair": {"top": 1},
    "train": {"groups_per_step": 2, "steps": 2, "validate_every": 2, "validation_images": 1, "learning_rate": 1e-3},
    "evaluate": {"seeds": 2, "bootstrap": 100, "peers": ["bicubic"]},
}
"""What a CPU needs to be changed in a preset."""


def write_sd2(models: Path) -> None:
    tiny_pipelines.write_sd_control(models / "control", tiny_pipelines.write_sd_base(models / "pipeline"))


def write_flux(models: Path) -> None:
    tiny_flux.write_base(models / "pipeline")
    tiny_flux.write_control(models / "control", num_layers=4)


def shell(root: Path, *command: str) -> str:
    """What a command of this environment prints in `root`, both streams."""
    return "".join(said_by(root, *command))


def said_by(root: Path, *command: str) -> tuple[str, str]:
    """The same, apart: stdout and stderr."""
    places = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(root)}
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        command,
        cwd=root,
        env=environment | places | {"DVC_NO_ANALYTICS": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout, done.stderr


def write_project(root: Path, preset: str, captioner: Path) -> None:
    """A committed project of a user: the pipeline, photos of theirs, and the preset with SMALL changed."""
    for name in ("components", "presets"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", "params.yaml"):
        shutil.copy(REPOSITORY / name, root / name)
    (root / "data/photos").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(photo(generator, 2 * SIDE)).save(root / f"data/photos/{number}.png")
    shell(root, "git", "init", "-q")
    shell(root, "dvc", "init", "-q")
    shell(root, "git", "add", ".")
    shell(root, "git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "photos")
    shell(root, "dp2o", "preset", preset)
    values = yaml.safe_load((root / "params.yaml").read_text())
    for block, changes in SMALL.items():
        values[block] |= changes
    values["prepare"]["prompt"] |= {"model": str(captioner), "max_tokens": 4, "text": "a"}
    (root / "params.yaml").write_text(yaml.safe_dump(values))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "write", "kind"),
    [
        ("c-sd2", write_sd2, ControlNetModel),
        # DVC knows no difference between the families, whose stages have tests of their own.
        pytest.param("c-flux", write_flux, FluxControlNetModel, marks=pytest.mark.skipif(
            not os.environ.get("CI_ALL"), reason="the second preset takes as long as the first; CI_ALL=1 runs it")),
    ],
)  # fmt: skip
def test_dvc_repro_runs_a_preset(
    tmp_path: Path, captioner_folder: Path, preset: str, write: Callable[[Path], None], kind: Any
) -> None:
    write(tmp_path / "models/base")
    write_project(tmp_path, preset, captioner_folder)
    log, said = said_by(tmp_path, "dp2o", "run")
    assert not_ours(said) == []
    assert [stage for stage in STAGES if f"Running stage '{stage}'" in log] == STAGES

    settings = load_settings(tmp_path / "params.yaml")
    assert settings.train.objective.beta == 5000.0
    assert settings.backbone.model_dump()["dtype"] == "bfloat16"
    rows = tables.read_rows(tmp_path / "data/candidates.parquet", tables.CANDIDATES)
    assert len(rows) == M * len({row["lr_id"] for row in rows}) > M
    assert all(row["prompt"] for row in tables.read_rows(tmp_path / "data/dataset.parquet", tables.DATASET))
    before = kind.from_pretrained(tmp_path / "models/base/control").state_dict()
    after = kind.from_pretrained(tmp_path / "models/aligned/last").state_dict()
    assert any((after[name] != before[name]).any() for name in before)
    for name in ("reports/evaluation.json", "reports/index.html", "reports/registration.json"):
        assert (tmp_path / name).stat().st_size > 0

    again = shell(tmp_path, "dvc", "repro")
    assert "Running stage" not in again
    assert "Data and pipelines are up to date" in again
