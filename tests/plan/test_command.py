"""What a user types and sees; the presets' figures are the known ones of their networks."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from components.cli.app import app
from components.pipeline import presets
from components.plan import plan as planning
from components.plan.figures import Figures, Shape, total
from components.plan.plan import measure
from components.plan.workload import shape_of
from components.settings import Settings, load_settings
from components.settings.families import FAMILIES, Published
from tests.made import REPOSITORY

pytestmark = pytest.mark.slow

PARAMS = ("--params", str(REPOSITORY / "params.yaml"))


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["plan", *PARAMS, *arguments])
    return result.exit_code, result.stdout, result.stderr


def preset(name: str) -> Settings:
    return load_settings(presets.FOLDER / f"{name}.yaml")


@cache
def known(name: str) -> Figures:
    """A preset's figures, measured once."""
    settings = preset(name)
    return measure(settings, REPOSITORY, shape_of(settings, settings.backbone.sample_block))  # type: ignore[union-attr]


@pytest.fixture
def measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands take the figures that the golden tests measured."""
    names = {"sd2_controlnet": "c-sd2", "flux_controlnet": "c-flux"}

    def figures(settings: Settings, root: Path, shape: Shape) -> Figures:
        assert shape == shape_of(settings, shape.sampling_rows)
        return known(names[settings.backbone.family])

    monkeypatch.setattr(planning, "measure", figures)


def published(family: str) -> Published:
    """The paper's figures of a family."""
    found = FAMILIES[family].published
    assert found is not None
    return found


def test_c_sd2s_networks() -> None:
    figures = known("c-sd2")
    sizes = {part.name: part.parameters for part in figures.parts}
    assert (sizes["UNet"], sizes["ControlNet"]) == (865_910_724, 364_228_240)
    assert figures.trained == 364_228_240
    gflop = {work.what: round(work.flop / 1e9) for work in figures.candidate}
    assert gflop == {"UNet": 804, "ControlNet": 284, "VAE decode": 2515}
    assert [work.times for work in figures.candidate] == [100, 100, 1]
    assert total(figures.candidate) / 1e12 == pytest.approx(published("sd2_controlnet").tflop, abs=1e-3)
    # the frozen half runs once for both branches; in two separate calls it would run twice
    down, policy, reference, backward = (work.flop for work in figures.row)
    assert down + policy == pytest.approx((804.257 + 283.746) * 1e9, rel=1e-5)
    assert policy == reference
    assert policy < backward < 2 * policy  # of the frozen up path only the activations' gradients


def test_c_fluxs_networks() -> None:
    figures = known("c-flux")
    sizes = {part.name: part.parameters for part in figures.parts}
    assert (sizes["transformer"], sizes["ControlNet"]) == (11_901_408_320, 1_442_333_696)
    assert total(figures.candidate) / 1e12 == pytest.approx(published("flux_controlnet").tflop, abs=1e-3)
    # 19 double blocks: a token passes its stream's 12 d^2 weights; 38 single ones: 12 d^2; and 4 d per pair of tokens
    width, tokens, words = 3072, 1024, 512
    products = 2 * (tokens + words) * 12 * width**2 * (19 + 38)
    attention = 4 * (tokens + words) ** 2 * width * (19 + 38)
    assert figures.candidate[0].flop == pytest.approx(products + attention, rel=0.005)
    plain, checkpointed = figures.training_bytes[False], figures.training_bytes[True]
    assert plain > 64 * 2**30 > 8 * 2**30 > checkpointed


@pytest.mark.usefixtures("measured_once")
def test_c_sd2_as_a_user_reads_it() -> None:
    code, text, _ = run("--preset", "c-sd2", "--gpu", "A800,4090")
    assert code == 0
    lines = [line.split() for line in text.splitlines()]
    assert ["UNet", "865.9", "-", "bfloat16"] in lines
    assert ["UNet", "100", "x", "804.3", "GFLOP", "80.43"] in lines
    assert ["a", "candidate", "111.3"] in lines
    assert ["A800,", "80.0", "GiB", "fits", "fits", "fits", "fits"] in lines
    assert ["4090,", "24.0", "GiB", "fits", "fits", "TOO", "LARGE", "fits"] in lines
    assert "A step gives 1,024 pairs of 128 groups from 2,048 rows" in text
    assert "times the cost" not in text
    generate = next(line for line in lines if line[:1] == ["generate"] and "candidates" in line)
    assert generate[1:3] == ["952,320", "candidates"]
    assert generate[-3:] == ["7.1%", "167", "1,333"]
    assert "7.1% of peak in sampling is what the paper's 168 h on 8 A800 imply for C-SD2" in " ".join(text.split())
    assert "512 shards (generate.shards): each 58 LR images, 912 MB" in text
    assert "the paper's 30,000; --lr-images sets it" in text


@pytest.mark.usefixtures("measured_once")
def test_c_flux_that_is_too_large_says_what_helps() -> None:
    code, text, _ = run("--preset", "c-flux", "--gpu", "L40S", "--lr-images", "60000")
    assert code == 0
    both = "`accelerate launch --config_file launch/fsdp2.yaml` with backbone.text_on_cpu true"
    assert f"To train on L40S: backbone.lora_rank above 0, or {both}, or a larger GPU." in " ".join(text.split())
    assert "generate.shards 2,617 would make tars of a handy size" in text


@pytest.mark.usefixtures("measured_once")
def test_json_has_what_the_text_has() -> None:
    code, text, _ = run("--preset", "c-sd2", "--gpu", "H100", "--gpus", "2", "--mfu", "0.4", "--json")
    assert code == 0
    plan: dict[str, Any] = json.loads(text)
    assert plan["parameters"] == {"trained": 364_228_240, "frozen": 2_018_408_907 - 364_228_240}
    (kind,) = plan["kinds"]
    assert kind["fits"] == dict.fromkeys(kind["fits"], True)
    generate = kind["stages"][0]
    assert generate["seconds"] == pytest.approx(generate["flop"] / (2 * 0.4 * 989.4e12))
    assert kind["gpu_hours"] == pytest.approx(sum(stage["gpu_hours"] for stage in kind["stages"]))


def test_the_embedded_model_is_planned_on_the_cpu() -> None:
    code, text, _ = run("--lr-images", "200")
    assert code == 0
    assert "This machine's CPU" in text
    assert "880 candidates of 110 LR images" in text
    assert "GPU-hours" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--gpu", "B9000"), "--gpu B9000: there is none of that name; known are A800, "),
        (("--preset", "c-sd9"), "--preset c-sd9: there is none of that name; the presets are c-flux, c-sd2"),
        (("--mfu", "30"), "--mfu 30 is no fraction"),
        (("--gpu", "cpu", "--gpus", "8"), "--gpus 8 with --gpu cpu"),
        (("--gpu", "cpu,A800"), "plan them apart"),
        (("--preset", "c-sd2", "--gpu", "V100-32"), "V100-32 has no bfloat16"),
    ],
)
@pytest.mark.usefixtures("measured_once")
def test_bad_arguments_are_named(arguments: tuple[str, ...], message: str) -> None:
    code, _, errors = run(*arguments)
    assert code == 2
    assert f"dp2o plan: {message}" in errors or message in errors
    assert "Traceback" not in errors
