"""Every stage by its own command on a tiny Stable Diffusion with a ControlNet, from photos to a restored picture."""

import base64
import io
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
from PIL import Image
from typer.testing import CliRunner

from components.artifacts import tables
from components.cli.app import app
from components.errors import BadInput, ExitCode
from components.gate.judging import verified
from components.registry.fetch import Found, model_of, ours
from components.registry.models import checked_package, load_upscaler
from components.registry.tracking import connected
from components.settings import load_settings
from components.stages import STAGES
from tests.backbones.tiny_pipelines import write_sd_base, write_sd_control
from tests.made import photo, write_params

SIDE = 32


def write_project(root: Path, captioner: Path) -> None:
    """Photos, models and settings; every path is relative to the project."""
    generator = np.random.default_rng(0)
    (root / "photos").mkdir()
    for number in range(6):
        Image.fromarray(photo(generator, 2 * SIDE)).save(root / f"photos/{number}.png")
    write_sd_control(root / "models/control", write_sd_base(root / "models/sd2"))
    (root / "models/captioner").symlink_to(captioner)
    sd2 = {"family": "sd2_controlnet", "path": "models/control", "base": "models/sd2", "steps": 2, "scale": 4}
    split = {"align": 0.5, "validation": 0.25, "test": 0.25}
    prepare: dict[str, Any] = {"sources": ["photos"], "crop": SIDE, "min_side": SIDE, "crops_per_photo": 1}
    train = {"steps": 2, "groups_per_step": 2, "micro_batch": 1, "warmup_steps": 0, "learning_rate": 1e-3}
    write_params(
        root,
        run={"device": "cpu"},
        prepare=prepare
        | {"split": split, "prompt": {"kind": "captioner", "model": "models/captioner", "text": "a", "max_tokens": 6}},
        backbone=sd2 | {"guidance_scale": 2.0, "negative_prompt": "blur", "colour_fix": "adain", "sample_block": 4},
        generate={"candidates": 4, "batch": 4},
        score={"fr": ["psnr"], "nr": [], "held_out": ["ssim"]},
        pair={"top": 1},
        train=train | {"validate_every": 2, "validation_images": 1, "validation_seeds": 2, "t_distribution": "uniform"},
        evaluate={"seeds": 2, "bootstrap": 100, "peers": ["bicubic"]},
        register={"model_name": "tiny-sd2"},
    )


def command(root: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--params", str(root / "params.yaml")])
    assert done.exit_code == ExitCode.OK, done.output
    return done.output


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, captioner_folder: Path) -> Path:
    """A project after all stages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        root = tmp_path_factory.mktemp("sd2")
        write_project(root, captioner_folder)
        for stage in STAGES:
            command(root, stage)
    return root


@pytest.fixture
def lr(tmp_path: Path) -> Path:
    path = tmp_path / "lr.png"
    Image.fromarray(photo(np.random.default_rng(7), 12)).save(path)
    return path


def upscaled(project: Path, lr: Path, *arguments: str) -> np.ndarray:
    output = lr.with_name(f"{len(list(lr.parent.iterdir()))}.png")
    command(project, "upscale", str(lr), "-o", str(output), *arguments)
    return np.asarray(Image.open(output))


def test_what_the_stages_left(project: Path) -> None:
    rows = tables.read_rows(project / "data/dataset.parquet", tables.DATASET)
    assert {row["kind"] for row in tables.read_rows(project / "data/prompts.parquet", tables.PROMPTS)} == {"captioner"}
    assert all(row["prompt"] for row in rows)
    candidates = tables.read_rows(project / "data/candidates.parquet", tables.CANDIDATES)
    assert len(candidates) == 4 * len([row for row in rows if row["split"] == "align"])
    for name in ("reports/evaluation.json", "reports/index.html", "reports/registration.json"):
        assert (project / name).stat().st_size > 0


def test_the_aligned_branch_is_a_stock_controlnet(project: Path) -> None:
    before = ControlNetModel.from_pretrained(project / "models/control").state_dict()
    control = ControlNetModel.from_pretrained(project / "models/aligned/last")
    assert any((tensor != before[name]).any() for name, tensor in control.state_dict().items())
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(
        project / "models/sd2", controlnet=control, safety_checker=None
    )
    assert pipeline.controlnet is control


def test_folder_registry_and_pyfunc_restore_alike(project: Path, lr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    from_folder = upscaled(project, lr, "--model", str(project / "models/aligned/best"))
    assert from_folder.shape == (48, 48, 3)
    version_uri = "models:/tiny-sd2@candidate"
    assert np.array_equal(upscaled(project, lr, "--model", version_uri), from_folder)
    model = mlflow.pyfunc.load_model(version_uri)
    picture = base64.b64encode(lr.read_bytes()).decode()
    rows = pd.DataFrame({"image": [picture] * 2, "seed": [0, 0], "prompt": [None, "zz, zz"]})
    served = [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in model.predict(rows)["image"]]
    assert np.array_equal(served[0], from_folder)
    assert not np.array_equal(served[1], from_folder)
    asked = upscaled(project, lr, "--model", str(project / "models/aligned/best"), "--prompt", "zz, zz")
    assert np.array_equal(served[1], asked)


def test_a_registered_controlnet_says_which_base_it_needs_and_where_it_looked(
    project: Path, lr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    base, moved = project / "models/sd2", tmp_path / "moved"
    version_uri = "models:/tiny-sd2@candidate"
    arguments = [str(lr), "--params", str(project / "params.yaml"), "--model", version_uri, "--force"]
    expected = upscaled(project, lr, "--model", version_uri)
    base.rename(moved)
    try:
        lost = CliRunner().invoke(app, ["upscale", *arguments])
        assert lost.exit_code == ExitCode.BAD_INPUT
        assert "this version holds a ControlNet, not the sd2 model it leads" in lost.stderr
        assert f"was {base} when it was registered and was looked for at {base}" in lost.stderr
        assert "`dp2o upscale --base FOLDER_OR_HUB_MODEL`" in lost.stderr
        with pytest.raises(BadInput, match=r"model_config=.*base"):
            mlflow.pyfunc.load_model(version_uri)
        assert np.array_equal(upscaled(project, lr, "--model", version_uri, "--base", str(moved)), expected)
        other = write_sd_base(tmp_path / "other", seed=9)
        wrong = CliRunner().invoke(app, ["upscale", *arguments, "--base", str(other)])
        assert wrong.exit_code == ExitCode.BAD_INPUT
        assert "the weights are not those that were registered" in wrong.stderr
        assert f"{other} is another model" in wrong.stderr
    finally:
        moved.rename(base)


def test_what_a_pod_registered_is_built_with_the_models_of_the_project(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder that it was registered in is gone, as a task's workspace is: for the gate as for `upscale`."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    here, gone = shutil.copytree(project, tmp_path / "here", symlinks=True), project.with_name("gone")
    settings = load_settings(here / "params.yaml")
    project.rename(gone)
    try:
        with connected(settings.register_, here) as client:
            found = Found(ours(client, "tiny-sd2@candidate"), None)
            model = verified(settings, here, found, model_of(client, found))
        assert model.saved is not None
        assert model.saved.backbone.base_model == here / "models/sd2"
        _, package = checked_package(settings, here, "tiny-sd2@candidate")  # what `dp2o serve` serves
        assert package.config["prompt"]["model"] == str(here / "models/captioner")
        (here / "models/sd2").rename(here / "lost")
        with pytest.raises(BadInput, match=f"was looked for at {here}/models/sd2.*--base"):
            load_upscaler(settings, here, "tiny-sd2@candidate", {})
    finally:
        gone.rename(project)


def test_pictures_larger_than_a_tile_and_than_the_limit(project: Path, tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.fromarray(np.tile(photo(np.random.default_rng(1), 24), (1, 3, 1))).save(path)
    arguments = ["--model", str(project / "models/aligned/best"), "--params", str(project / "params.yaml")]
    tiled = CliRunner().invoke(app, ["upscale", str(path), "--tile", "64", *arguments])
    assert tiled.exit_code == ExitCode.OK, tiled.output
    assert Image.open(tmp_path / "wide-x4.png").size == (288, 96)
    large = CliRunner().invoke(app, ["upscale", str(path), "--force", "--tile", "1032", *arguments])
    assert large.exit_code == ExitCode.BAD_INPUT
    assert "tile of 1032 x 1032 LR px has more than backbone.max_lr_pixels 1048576" in large.stderr


def test_a_large_lr_is_refused_before_the_model_is_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = (project / "params.yaml").read_text()
    limited = project / "limited.yaml"
    limited.write_text(params.replace("  scale: 4\n  steps: 2\n", "  scale: 4\n  steps: 2\n  max_lr_pixels: 63\n", 1))
    assert "max_lr_pixels: 63" in limited.read_text()
    monkeypatch.setattr("components.generate.stage.load_backbone", lambda *arguments: pytest.fail("was read"))
    done = CliRunner().invoke(app, ["generate", "--params", str(limited)])
    assert done.exit_code == ExitCode.BAD_INPUT
    assert "makes LR images of 8 x 8 px, backbone.max_lr_pixels is 63: lower prepare.crop" in done.stderr


def test_metrics_that_cannot_score_are_refused_before_anything_is_generated(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = project / "paper.yaml"
    paper.write_text((project / "params.yaml").read_text().replace("  nr: []\n", "  nr: [musiq]\n", 1))
    assert "musiq" in paper.read_text()
    monkeypatch.setattr("components.generate.stage.load_backbone", lambda *arguments: pytest.fail("was read"))
    done = CliRunner().invoke(app, ["generate", "--params", str(paper)])
    assert done.exit_code == ExitCode.BAD_INPUT
    assert "metric musiq lacks its weight file pyiqa/musiq_koniq_ckpt-e95806b9.pth" in done.stderr
    assert "Nothing was generated" in done.stderr
