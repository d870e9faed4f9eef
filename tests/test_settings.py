"""params.yaml: what is refused, and that every refusal says what, where and the way out."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from components.errors import BadInput
from components.settings import DP2OBuilder, DP2OObjective, SD2ControlNetSettings, load_settings
from tests.made import REPOSITORY

SD2: dict[str, Any] = {
    "family": "sd2_controlnet",
    "path": "weights/controlnet",
    "base": "owner/sd2",
    "steps": 50,
    "guidance_scale": 3.5,
    "colour_fix": "adain",
}


def load(root: Path, *changes: tuple[str, Any]) -> Any:
    """Settings of the repository with the values at the given dotted paths changed."""
    values: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    for path, value in changes:
        *blocks, key = path.split(".")
        place = values
        for block in blocks:
            place = place[block]
        place[key] = value
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    return load_settings(root / "params.yaml")


def test_the_repositorys_params_load() -> None:
    settings = load_settings(REPOSITORY / "params.yaml")
    assert settings.train.objective == DP2OObjective(beta=150.0)
    assert settings.pair.builder == DP2OBuilder(top=4)
    assert settings.backbone.family == "restorer_flow"
    assert settings.score.all_metrics == [*settings.score.fr, *settings.score.nr, *settings.score.held_out]


def test_every_parameter_is_documented() -> None:
    """A comment stands beside every value of params.yaml."""
    lines = (REPOSITORY / "params.yaml").read_text().splitlines()
    values = [line.strip() for line in lines if line.strip() and not line.endswith(":") and line.startswith(" ")]
    assert [line for line in values if "#" not in line] == []


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = load(tmp_path)
    with pytest.raises(ValidationError, match="frozen"):
        settings.train.objective.beta = 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("train.betta", 1)], r"1 problem\(s\):\n  train\.betta: Extra inputs are not permitted"),
        ([("training", {})], r"training: Extra inputs are not permitted"),
        ([("train.beta", 0)], r"train\.beta: Input should be greater than 0"),
        ([("train.beta", "much")], r"train\.beta: Input should be a valid number"),
        (
            [("train.objective", "ppo")],
            r"train\.objective: .* no objective 'ppo': give one of dp2o, soft, .*, or package\.module:NAME",
        ),
        ([("train.t_min", 0.5), ("train.t_max", 0.5)], r"t_min 0\.5 must be below t_max 0\.5"),
        ([("train.t_max", 1.5)], r"train\.t_max: Input should be less than or equal to 1"),
        (
            [("train.groups_per_step", 8), ("train.micro_batch", 3)],
            "groups_per_step 8 is not a multiple of micro_batch 3: gradient accumulation needs whole parts",
        ),
        (
            [("prepare.split", {"align": 0.5, "validation": 0.2, "test": 0.2})],
            r"validation \+ test is 0\.9, it must be 1",
        ),
        ([("prepare.crop", 130)], "crop 130 is not a multiple of scale 4"),
        ([("prepare.sources", [])], "sources, lr_sources and pairs are all empty: name at least one folder"),
        ([("prepare.pairs", [{"lr": "a"}])], r"prepare\.pairs\.0\.hr: Field required"),
        ([("score.fr", []), ("score.nr", [])], "fr and nr are both empty: the reward needs at least one metric"),
        ([("score.fr", ["psnr"]), ("score.held_out", ["psnr"])], r"\['psnr'\] named more than once: .* or held out"),
        ([("generate.candidates", 65)], r"generate\.candidates: Input should be less than or equal to 64"),
        ([("generate.candidates", 1)], r"generate\.candidates: Input should be greater than or equal to 2"),
        ([("generate.splits", ["test"])], "splits lacks align: training has no candidates without it"),
        (
            [("generate.candidates", 8), ("pair.candidates", 16), ("pair.top", 2)],
            r"pair\.candidates 16 exceeds generate\.candidates 8: raise the latter",
        ),
        (
            [("generate.candidates", 8), ("pair.top", 5)],
            r"pair\.top 5 winners and as many losers do not fit into 8 candidates: set pair\.top to at most 4 or raise",
        ),
        ([("generate.candidates", 16), ("pair.candidates", 4), ("pair.top", 3)], r"set pair\.top to at most 2"),
        ([("pair.builder", "winners_only")], "without losers, .* with losers: .* both are winners_only or neither is"),
        (
            [("train.objective", "winners_only")],
            "with losers, .* without losers: .* both are winners_only or neither is",
        ),
        ([("evaluate.confidence", 1.0)], r"evaluate\.confidence: Input should be less than 1"),
        ([("backbone.family", "sd9")], r"  backbone: Input tag 'sd9' .* expected tags: 'tiny_flow', 'restorer_flow'"),
        ([("backbone.steps", 0)], r"  backbone\.steps: Input should be greater than or equal to 1"),
        ([("backbone.guidance", 2.5)], r"  backbone\.guidance: Extra inputs are not permitted"),
        ([("backbone", SD2 | {"negative": ""})], r"  backbone\.negative: Extra inputs are not permitted"),
        ([("prepare.prompt", {"kind": "captioner"})], "kind captioner needs model: a folder in transformers' format"),
        ([("prepare.prompt", {"model": "x"})], "model is set, but kind is fixed: set kind to captioner, or leave"),
        ([("prepare.prompt", {"kind": "column", "text": "x"})], "text is set, but kind is column"),
        ([("prepare.prompt", {"manifest": "m.xlsx"})], r"manifest m\.xlsx is neither \.csv nor \.parquet"),
        ([("register.colour", 1)], r"register\.colour: Extra inputs"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, changes: list[tuple[str, Any]], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load(tmp_path, *changes)


OF_ANY_FAMILY = (("train.t_distribution", "uniform"), ("evaluate.controls", []), ("gate.controls", {}))
"""What the embedded model's settings ask for, and only this project's own models can give, taken back."""


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (0, r"train\.t_distribution sampler is for this project's own models, backbone\.family is sd2_controlnet"),
        (1, r"evaluate\.controls \['gain', 'steps'\] are of this project's own models"),
        (2, r"gate\.controls .* are of this project's own models"),
    ],
)
def test_what_only_own_models_can_is_refused_for_the_others(tmp_path: Path, place: int, message: str) -> None:
    changes = [change for number, change in enumerate(OF_ANY_FAMILY) if number != place]
    with pytest.raises(BadInput, match=message):
        load(tmp_path, ("backbone", SD2), *changes)


@pytest.mark.parametrize("family", ["restorer_flow", "tiny_flow", "sd2_controlnet"])
def test_a_scale_that_is_not_the_models_is_refused_for_all_families_alike(tmp_path: Path, family: str) -> None:
    """Before anything is prepared: candidates would not have the size of their HR."""
    if family == "sd2_controlnet":
        block = SD2 | {"scale": 3}
    else:
        folder = tmp_path / "model"
        shutil.copytree(REPOSITORY / "components/backbones/weights" / family, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"scale": 3}))
        block = {"family": family, "path": "model", "steps": 2, "colour_fix": "none"}
    changes = [("backbone", block), ("evaluate.peers", ["bicubic"]), *OF_ANY_FAMILY]
    load(tmp_path, *changes, ("prepare.scale", 3), ("prepare.crop", 96))
    with pytest.raises(
        BadInput, match=r"prepare\.scale is 4, and the model of backbone\.path .* enlarges 3 times: set"
    ):
        load(tmp_path, *changes)


def test_a_model_that_is_not_there_yet_says_no_scale(tmp_path: Path) -> None:
    load(tmp_path, ("backbone.path", "models/later"), ("prepare.scale", 2), ("evaluate.peers", ["bicubic"]))


def test_a_controlnet_family(tmp_path: Path) -> None:
    backbone = load(tmp_path, ("backbone", SD2), *OF_ANY_FAMILY).backbone
    assert isinstance(backbone, SD2ControlNetSettings)
    assert (str(backbone.base), backbone.lora_rank, backbone.dtype) == ("owner/sd2", 0, "float32")


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has 2 problem\(s\):") as caught:
        load(tmp_path, ("train.steps", 0), ("report.groups_shown", "few"))
    assert "train.steps" in str(caught.value)
    assert "report.groups_shown" in str(caught.value)


def test_winners_only_on_both_sides_works(tmp_path: Path) -> None:
    settings = load(tmp_path, ("pair.builder", "winners_only"), ("train.objective", "winners_only"))
    assert settings.pair.builder.kind == settings.train.objective.kind


def test_a_missing_block_and_a_missing_key_are_named(tmp_path: Path) -> None:
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    del values["report"]
    del values["train"]["steps"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(BadInput, match=r"  train\.steps: Field required\n  report: Field required"):
        load_settings(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; run from the project's root or give --params"),
        ("train: [", r"params\.yaml is not valid YAML"),
        ("", r"params\.yaml has 1 problem\(s\):\n  params: "),
        ("- a list", r"params\.yaml has 1 problem\(s\):\n  params: "),
    ],
)
def test_files_that_are_no_settings(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(BadInput, match=message):
        load_settings(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.device=[", r"--set run\.device=\[: '\[' is no YAML value"),
        ("train.steps=1", r"--set train\.steps=1: only settings that never change a result can be set there"),
        ("run.device", r"as block\.key=value"),
    ],
)
def test_what_a_command_line_cannot_set_is_told(override: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_settings(REPOSITORY / "params.yaml", [override])
    assert load_settings(REPOSITORY / "params.yaml", ["run.device='cpu'", "generate.batch=3"]).generate.batch == 3
