"""The families of `examples/`, as a user has them: named in params.yaml, checked, planned for, trained and judged."""

import csv
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import StableDiffusionUpscalePipeline, UNet2DConditionModel
from torch import Tensor
from typer.testing import CliRunner

from components.artifacts import tables
from components.artifacts.evaluation import Evaluation
from components.backbones.base import Backbone
from components.backbones.check import check
from components.backbones.loading import load_backbone, load_model
from components.backbones.restore import sample
from components.cli.app import app
from components.entry.main import run_stage
from components.errors import BadInput, ExitCode
from components.pipeline.files import untracked_folders
from components.settings import BACKBONE, Settings, load_settings, stored_backbone
from examples.make import MAKE
from tests.made import REPOSITORY, write_dataset, write_params
from tests.train.rig import SHORT

CPU = torch.device("cpu")
BLOCKS: dict[str, dict[str, Any]] = {
    "one_step": {"family": "examples.one_step:ONE_STEP", "path": "one_step", "steps": 1},
    "concatenated": {
        "family": "examples.concatenated:CONCATENATED",
        "path": "concatenated/unet",
        "base": "concatenated",
        "steps": 2,
        "guidance_scale": 2.0,
    },
    "residual": {"family": "examples.residual:RESIDUAL", "path": "residual", "steps": 1},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for name, make in MAKE.items():
        (root / name).mkdir()
        make(root / name)
    return root


def project(models: Path, root: Path, example: str, **block: Any) -> Settings:
    shutil.copytree(models / example, root / example)
    write_dataset(root, ["align", "align", "validation", "test"])
    return write_params(
        root,
        run={"threads": 1, "device": "cpu", "workers": 1},
        backbone=BLOCKS[example] | block,
        generate={"candidates": 4, "splits": ["align"]},
        score={"fr": ["psnr"], "nr": [], "held_out": [], "batch": 4},
        pair={"top": 1},
        train=SHORT
        | {"steps": 2, "warmup_steps": 0, "groups_per_step": 2, "validation_seeds": 2, "t_distribution": "uniform"},
        evaluate={"seeds": 2, "bootstrap": 100, "peers": ["bicubic"]},
    )


def loaded(models: Path, example: str, **block: Any) -> Backbone:
    located = BACKBONE.validate_python(BLOCKS[example] | {"colour_fix": "none"} | block).located(models)
    return load_model(located.path, located, CPU)


@pytest.mark.parametrize("example", BLOCKS)
def test_every_promise_is_kept(models: Path, tmp_path: Path, example: str) -> None:
    settings = project(models, tmp_path, example)
    model = load_backbone(settings, tmp_path, CPU)
    assert [outcome for outcome in check(model, 8) if not outcome.holds] == []


@pytest.mark.parametrize("example", BLOCKS)
def test_all_stages_run_on_it(models: Path, tmp_path: Path, example: str) -> None:
    project(models, tmp_path, example)
    for stage in ("generate", "score", "pair", "train", "evaluate"):
        assert run_stage(stage, tmp_path / "params.yaml") == ExitCode.OK, stage
    assert len(tables.read_any(tmp_path / "data/candidates.parquet")[1]) == 2 * 4
    losses = [float(row["loss"]) for row in csv.DictReader((tmp_path / "reports/training.csv").open())]
    weights = [row["weight"] for row in tables.read_rows(tmp_path / "data/pairs.parquet", tables.PAIRS)]
    assert losses[0] == pytest.approx(0.6931 * sum(weights) / len(weights), rel=0.02)  # policy is reference: ln 2
    model = load_backbone(load_settings(tmp_path / "params.yaml"), tmp_path, CPU)
    before = model.digest("policy")
    assert Evaluation.read(tmp_path).digests["base"] == before
    model.load_policy(tmp_path / "models/aligned/last")
    assert model.digest("policy") != before


def test_the_error_of_one_step_is_that_of_the_clean_latents_it_gives(models: Path) -> None:
    """e_theta = (a / s)^2 times the squared error of the step's x_0, at the model's own timestep whatever t is."""
    model = loaded(models, "one_step")
    sampler = model.sampler
    condition = model.condition(torch.rand(1, 3, 6, 8, generator=torch.manual_seed(0)), ("",))
    latents = model.encode(torch.rand(condition.upsampled.shape))
    noise = torch.randn(latents.shape)
    x, _ = model.noised(latents, condition, torch.tensor([0.1]), noise)
    predicted = model.predict(x, torch.tensor([0.9]), condition, "policy")
    step = sampler.schedule(x).transition(0, predicted, x).mean
    clean = sampler.finish(model, step, condition)
    squared = (clean - latents).square().mean(dim=(1, 2, 3))
    ratio = (sampler.signal / sampler.noise) ** 2  # type: ignore[attr-defined]
    for t in (0.1, 0.9):
        error = model.error(latents, condition, torch.tensor([t]), noise, "policy")
        assert torch.allclose(error, ratio * squared, rtol=1e-3)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_the_upscaler_is_the_stock_pipelines(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guidance: float
) -> None:
    model: Any = loaded(models, "concatenated", guidance_scale=guidance, negative_prompt="blur", steps=3)
    with torch.no_grad():
        for weight in model.policy.parameters():
            weight.mul_(1.05)
    model.save(tmp_path)
    lr = torch.rand(1, 3, 8, 8, generator=torch.manual_seed(0))
    generator = torch.Generator().manual_seed(4)
    drawn = torch.randn(1, 3, 8, 8, generator=generator)
    noise = torch.cat([torch.randn(1, 4, 8, 8, generator=generator) for _ in range(3)])[None]
    noised = model.low.add_noise(lr * 2 - 1, drawn, torch.tensor([20]))
    monkeypatch.setattr(model, "noisy_lr", lambda row: noised)
    ours = sample(model, model.condition(lr, ("a cat",)), noise).images

    unet = UNet2DConditionModel.from_pretrained(tmp_path)
    stock = StableDiffusionUpscalePipeline.from_pretrained(models / "concatenated", unet=unet)
    stock.set_progress_bar_config(disable=True)
    theirs: Tensor = stock(
        "a cat", image=lr, negative_prompt="blur", num_inference_steps=3, guidance_scale=guidance,
        noise_level=20, generator=torch.Generator().manual_seed(4), output_type="pt",
    ).images  # fmt: skip
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert (ours - sample(model, model.condition(lr, ("a cat",)), noise, "reference").images).abs().max() > 0.01


def test_a_plan_loads_it_and_counts(models: Path, tmp_path: Path) -> None:
    settings = project(models, tmp_path, "residual")
    result = CliRunner().invoke(app, ["plan", "--json", "--params", str(tmp_path / "params.yaml")])
    assert result.exit_code == 0, result.output
    figures = yaml.safe_load(result.stdout)["figures"]
    side = settings.prepare.crop
    weights = 6 * 16 * 9 + 4 * 16 * 16 * 9 + 16 * 3 * 9  # multiply-adds a pixel
    (prediction,) = [work for work in figures["candidate"] if work["predicts"]]
    assert prediction["flop"] * prediction["times"] == 2 * weights * side**2
    assert sum(part["trained"] for part in figures["parts"]) == weights + 5 * 16 + 3


def test_dvc_sees_a_change_in_its_file(models: Path, tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "dvc.yaml", tmp_path)
    shutil.copy(REPOSITORY / "examples/residual.py", tmp_path / "mine_here.py")
    settings = project(models, tmp_path, "residual", family="mine_here:RESIDUAL")
    found = [stage for stage, path in untracked_folders(settings, tmp_path) if path == "mine_here.py"]
    assert found == ["generate", "train", "evaluate", "register"]


def test_a_stored_name_never_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may write a registered model would choose what runs; what params.yaml has imported is taken."""
    monkeypatch.syspath_prepend(str(tmp_path))
    shutil.copy(REPOSITORY / "examples/residual.py", tmp_path / "stored_here.py")
    block = BLOCKS["residual"] | {"family": "stored_here:RESIDUAL", "colour_fix": "none"}
    with pytest.raises(BadInput, match=r"none of this project's: set backbone\.family to it in params\.yaml"):
        stored_backbone(block)
    assert "stored_here" not in sys.modules
    assert BACKBONE.validate_python(block).family == stored_backbone(block).family
    monkeypatch.delitem(sys.modules, "stored_here")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"family": "examples.residual:NOTHING"}, "backbone: .*examples.residual has nothing named NOTHING"),
        ({"family": "examples.residual:CONFIG"}, "must be a Family whose settings are a subclass of FamilyBlock"),
        ({"family": "no_such_place:ROW"}, r"there is no module no_such_place: it must lie beside params\.yaml"),
        ({"steps": 2}, r"backbone\.steps: Input should be 1"),
        ({"gain": 2.0}, r"backbone\.gain: Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    models: Path, tmp_path: Path, block: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        project(models, tmp_path, "residual", **block)


def test_limits_of_the_row_count(models: Path, tmp_path: Path) -> None:
    project(models, tmp_path, "concatenated")
    values = yaml.safe_load((tmp_path / "params.yaml").read_text())
    values["train"]["noise"] = "own"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(BadInput, match=r"train\.noise own is for flows.*examples\.concatenated:CONCATENATED draws"):
        load_settings(tmp_path / "params.yaml")


def test_where_its_libraries_lack_settings_are_read_all_the_same(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flow's image has no torch: what else the block has is checked where the model runs."""
    (tmp_path / "lacking.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = project(models, tmp_path, "residual", family="lacking:ROW", width=7)
    assert not settings.backbone.loaded
    assert settings.model_dump()["backbone"]["width"] == 7
    with pytest.raises(BadInput, match="lacking imports no_such_library, which is not installed here"):
        load_backbone(settings, tmp_path, CPU)
