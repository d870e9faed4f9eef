"""The embedded model in onnxruntime: the pictures of this project, on a photo, whatever its size."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from components.backbones.restore import restore
from components.cli.app import app
from components.export.onnx_file import OPSET, TOLERANCE
from components.settings import load_settings
from components.upscale.upscaler import Upscaler
from tests.made import REPOSITORY

CPU = torch.device("cpu")
WEIGHTS = REPOSITORY / "components/backbones/weights"
PHOTO = REPOSITORY / "data/photos/chelsea.jpg"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed model, by the command."""
    out = tmp_path_factory.mktemp("export") / "leave"
    arguments = [str(WEIGHTS / "restorer_flow"), "--out", str(out), "--params", str(REPOSITORY / "params.yaml")]
    result = CliRunner().invoke(app, ["export", *arguments])
    assert result.exit_code == 0, result.output
    return out


def photo(height: int, width: int) -> Tensor:
    with Image.open(PHOTO) as image:
        pixels = np.asarray(image.convert("RGB").crop((120, 60, 120 + width, 60 + height)), np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


def given(noise: Tensor, shape: tuple[int, ...]) -> Tensor:
    assert noise.shape == (1, *shape)
    return noise[0]


def test_its_pictures_are_ours(exported: Path) -> None:
    settings = load_settings(REPOSITORY / "params.yaml")
    model = Upscaler.load(WEIGHTS / "restorer_flow", settings.backbone.located(REPOSITORY), CPU)
    session = onnxruntime.InferenceSession(str(exported / "model.onnx"))
    pictures = []
    for height, width in ((16, 16), (23, 41), (9, 30)):
        lr = photo(height, width)
        noise = torch.randn(1, 3, height, width, generator=torch.manual_seed(3))
        (ours,) = restore(model.backbone, lr, ("",), [partial(given, noise)], model.colour_fix, "policy", block=1)
        (theirs,) = session.run(["hr"], {"lr": lr.numpy(), "noise": noise.numpy()})
        assert theirs.shape == (1, 3, 4 * height, 4 * width)
        assert np.abs(theirs - ours.images.numpy()).max() <= TOLERANCE
        pictures.append(theirs)
    (other,) = session.run(["hr"], {"lr": lr.numpy(), "noise": np.zeros((1, 3, height, width), np.float32)})
    assert np.abs(other - pictures[-1]).max() > 0.01  # what the equality would not survive


def test_the_file_says_what_it_is(exported: Path) -> None:
    session = onnxruntime.InferenceSession(str(exported / "model.onnx"))
    facts = session.get_modelmeta().custom_metadata_map
    assert (facts["scale"], facts["noise_scale"], facts["colour_fix"]) == ("4", "1", "wavelet")
    text = (exported / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "other"
    assert front["pipeline_tag"] == "image-to-image"
    assert f"Opset {OPSET}" in text
    assert "model-index" not in front  # these weights are not what the project's evaluation is of


def test_the_lines_of_the_page_run_without_this_project(exported: Path, tmp_path: Path) -> None:
    (lines,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/leave.md").read_text(), re.DOTALL)
    assert len([line for line in lines.splitlines() if line.strip()]) <= 15
    (tmp_path / "leave").symlink_to(exported)
    Image.fromarray((photo(12, 19)[0].permute(1, 2, 0) * 255).byte().numpy()).save(tmp_path / "photo.png")
    check = "\nimport sys\nassert not {'components', 'torch'} & set(sys.modules)\n"
    subprocess.run([sys.executable, "-c", lines + check], cwd=tmp_path, check=True, timeout=120)
    with Image.open(tmp_path / "large.png") as large:
        assert large.size == (4 * 19, 4 * 12)
