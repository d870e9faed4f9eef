"""The presets are valid settings with the paper's numbers, and choosing one loses nothing."""

import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from components.cli.app import app
from components.errors import BadInput, ExitCode
from components.metrics.table import PRESETS, TABLE
from components.pipeline import presets
from components.settings import FluxControlNetSettings, SD2ControlNetSettings, Settings, load_settings
from tests.made import REPOSITORY


def load(name: str) -> Settings:
    return load_settings(presets.FOLDER / f"{name}.yaml")


def test_c_sd2_is_the_papers() -> None:
    settings = load("c-sd2")
    backbone, train = settings.backbone, settings.train
    assert isinstance(backbone, SD2ControlNetSettings)
    assert (backbone.steps, backbone.guidance_scale, backbone.colour_fix) == (50, 3.5, "adain")
    assert backbone.negative_prompt == "dotted, noise, blur, lowres, smooth"
    assert (settings.generate.candidates, settings.pair.builder.top) == (32, 8)
    assert train.t_distribution == "uniform"


def test_c_flux_is_the_papers() -> None:
    settings = load("c-flux")
    backbone, train = settings.backbone, settings.train
    assert isinstance(backbone, FluxControlNetSettings)
    assert (backbone.steps, backbone.guidance, backbone.colour_fix) == (25, 2.5, "adain")
    assert (settings.generate.candidates, settings.pair.builder.top) == (64, 4)
    assert train.t_distribution == "logit_normal"


@pytest.mark.parametrize("name", presets.names())
def test_what_both_share(name: str) -> None:
    settings = load(name)
    train = settings.train
    assert train.groups_per_step * train.pairs_per_group == 1024  # each with its own t and noise
    assert (train.noise_shared_by, train.pairs_per_group) == ("pair", settings.pair.builder.top)
    assert (train.objective.beta, train.learning_rate, train.steps, train.validate_every) == (5000.0, 2e-5, 1000, 50)
    assert (train.t_min, train.t_max, train.anchor, settings.backbone.model_dump()["lora_rank"]) == (0.0, 1.0, 0.0, 0)
    assert (tuple(settings.score.fr), tuple(settings.score.nr)) == (PRESETS["paper"].fr, PRESETS["paper"].nr)
    assert set(settings.score.all_metrics) <= set(TABLE)
    assert (settings.prepare.crop, settings.prepare.scale) == (512, 4)
    assert settings.pair.intra_weights
    assert settings.pair.inter_weights
    assert train.groups_per_step % (8 * train.micro_batch) == 0  # deals evenly to the paper's eight GPUs
    assert settings.generate.batch % settings.backbone.model_dump()["sample_block"] == 0


@pytest.mark.parametrize("name", presets.names())
def test_every_value_of_a_preset_is_documented(name: str) -> None:
    lines = (presets.FOLDER / f"{name}.yaml").read_text().splitlines()
    values = [line.strip() for line in lines if line.startswith(" ") and not line.endswith(":")]
    assert [line for line in values if "#" not in line and not line.startswith("family:")] == []


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_has_the_keys_of_the_default(name: str) -> None:
    """But for the backbone's, which are the family's."""
    default = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    preset = yaml.safe_load((presets.FOLDER / f"{name}.yaml").read_text())
    assert list(preset) == list(default)
    for block in set(default) - {"backbone"}:
        assert list(preset[block]) == list(default[block])


@pytest.fixture
def params(tmp_path: Path) -> Path:
    """params.yaml in a git repository, committed."""
    path = tmp_path / "params.yaml"
    path.write_text((REPOSITORY / "params.yaml").read_text())
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, timeout=300)
    return path


def test_a_preset_replaces_what_can_be_had_again(params: Path) -> None:
    presets.apply("c-sd2", params)
    assert load_settings(params).backbone.family == "sd2_controlnet"
    presets.apply("c-flux", params)
    assert load_settings(params).backbone.family == "flux_controlnet"


def test_changes_are_not_lost(params: Path) -> None:
    changed = params.read_text() + "# mine\n"
    params.write_text(changed)
    with pytest.raises(BadInput, match=r"params\.yaml has changes that would be lost: commit them .* or give --force"):
        presets.apply("c-sd2", params)
    assert params.read_text() == changed
    presets.apply("c-sd2", params, force=True)
    assert load_settings(params).backbone.family == "sd2_controlnet"


def test_without_git_a_file_of_ones_own_is_kept(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("run: {}\n")
    with pytest.raises(BadInput, match="has changes that would be lost"):
        presets.apply("c-sd2", tmp_path / "params.yaml")
    presets.apply("c-sd2", tmp_path / "new.yaml")
    assert load_settings(tmp_path / "new.yaml")


def test_the_command(params: Path) -> None:
    runner = CliRunner()
    listed = runner.invoke(app, ["preset"])
    assert [line.split()[0] for line in listed.output.splitlines()] == ["c-flux", "c-sd2"]
    assert runner.invoke(app, ["preset", "c-sd3", "--params", str(params)]).exit_code == ExitCode.BAD_INPUT
    assert runner.invoke(app, ["preset", "c-sd2", "--params", str(params)]).exit_code == ExitCode.OK
    assert load_settings(params).register_.model_name == "dp2o-sr-c-sd2-dev"
