"""`dp2o upscale` between base and aligned model, with several seeds, and side by side."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from skimage import data

from components.artifacts.shards import decode_png, encode_png
from components.settings import load_settings
from components.upscale.upscaler import Upscaler
from tests.cli.test_commands import invoke
from tests.evaluate.project import build
from tests.made import small_params

CPU = torch.device("cpu")
PHOTO = data.astronaut()[:24, 100:130].copy()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and an aligned model that was trained from it."""
    root = build(tmp_path_factory.mktemp("project"))
    values = small_params()
    values["backbone"] |= {"path": "base", "steps": 2}
    values["score"] |= {"nr": ["piqe"]}
    values["run"] |= {"device": "cpu", "threads": 1}
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    (root / "photo.png").write_bytes(encode_png(PHOTO))
    return root


def upscale(project: Path, *arguments: str) -> tuple[int, str, str]:
    return invoke("upscale", str(project / "photo.png"), "--params", str(project / "params.yaml"), *arguments)


def upscaler(project: Path, folder: str) -> Upscaler:
    settings = load_settings(project / "params.yaml")
    return Upscaler.load(project / folder, settings.backbone.located(project), CPU)


def test_strength_0_is_the_base_and_the_comparison_shows_both(project: Path) -> None:
    output = project / "half.png"
    arguments = ["-o", str(output), "--strength", "0.5", "--seed", "3", "--compare", "--json"]
    code, text, errors = upscale(project, *arguments)
    assert code == 0, errors
    done = json.loads(text)
    assert done["mixture"] == {"strength": 0.5, "power": 0.0, "start": 0.0}
    assert done["comparison"] == str(project / "half-compare.png")
    sheet, half = decode_png((project / "half-compare.png").read_bytes()), decode_png(output.read_bytes())
    assert np.array_equal(sheet[:, -half.shape[1] :], half)
    base = upscaler(project, "base")(PHOTO, 3)
    assert np.array_equal(sheet[:, half.shape[1] + 8 : -half.shape[1] - 8], base)
    assert not np.array_equal(half, base)
    assert not np.array_equal(half, upscaler(project, "models/aligned/best")(PHOTO, 3))
    assert upscale(project, *arguments)[0] == 2  # both are there
    output.unlink()
    code, _, errors = upscale(project, *arguments)
    assert (code, "half-compare.png exists" in errors) == (2, True)
    assert upscale(project, "-o", str(output), "--strength", "0", "--seed", "3")[0] == 0
    assert np.array_equal(decode_png(output.read_bytes()), base)


def test_annealed_guidance_is_told(project: Path) -> None:
    code, text, errors = upscale(project, "-o", str(project / "annealed.png"), "--power", "2")
    assert code == 0, errors
    assert "seed 0, strength 1, power 2," in text


def test_the_best_of_three_seeds_is_what_that_seed_gives(project: Path) -> None:
    output = project / "best.png"
    code, text, errors = upscale(project, "-o", str(output), "--best-of", "3", "--seed", "4", "--json")
    assert code == 0, errors
    done = json.loads(text)
    assert sorted(one["seed"] for one in done["best_of"]) == [4, 5, 6]
    rewards = [one["reward"] for one in done["best_of"]]
    assert rewards == sorted(rewards, reverse=True)
    assert done["seed"] == done["best_of"][0]["seed"]
    assert set(done["best_of"][0]["scores"]) == {"lr_consistency", "piqe"}
    chosen = upscaler(project, "models/aligned/best")(PHOTO, done["seed"])
    assert np.array_equal(decode_png(output.read_bytes()), chosen)
    text = upscale(project, "-o", str(output), "--best-of", "2", "--force")[1]
    assert "the best of 2 seeds by lr_consistency, piqe" in text
    assert "seed 1: reward" in text


@pytest.mark.parametrize("argument", ["--strength=2.5", "--strength=-1", "--power=9", "--start=2", "--best-of=0"])
def test_what_is_beyond_the_limits_is_refused(project: Path, argument: str) -> None:
    code, _, errors = upscale(project, "-o", str(project / "never.png"), argument)
    assert code == 2
    assert argument.split("=", maxsplit=1)[0] in errors
    assert not (project / "never.png").exists()


def test_a_model_without_its_base_is_refused_before_any_work(project: Path, tmp_path: Path) -> None:
    """The folder that the settings name is of another model, or is not there."""
    values = yaml.safe_load((project / "params.yaml").read_text())
    values["backbone"]["path"] = "gone"
    shutil.copytree(project / "models", tmp_path / "models")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    photo, fixed = (
        str(project / "photo.png"),
        ["--params", str(tmp_path / "params.yaml"), "-o", str(tmp_path / "a.png")],
    )
    assert invoke("upscale", photo, *fixed)[0] == 0
    code, _, errors = invoke("upscale", photo, *fixed, "--force", "--strength", "0.5")
    assert code == 2
    assert "gone" in errors
    assert "Traceback" not in errors


def test_a_dry_run_of_one_photo_writes_nothing(project: Path) -> None:
    output = project / "dry.png"
    code, text, errors = upscale(project, "-o", str(output), "--dry-run", "--json")
    assert code == 0, errors
    (one,) = json.loads(text)["open"]
    assert (one["output"], one["result_width"]) == (str(output), 120)
    assert not output.exists()
    output.write_bytes(b"of somebody")
    code, text, _ = upscale(project, "-o", str(output), "--dry-run")
    assert code == 2
    assert "--force" in text
    code, _, errors = upscale(project, "-o", "-", "--dry-run")
    assert code == 2
    assert "pipes" in errors
