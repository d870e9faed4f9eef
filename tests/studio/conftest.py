from pathlib import Path

import pytest
import torch
import yaml
from skimage import data

from components.artifacts.shards import encode_png
from components.settings import load_settings
from components.upscale.upscaler import Tiling, Upscaler
from tests.evaluate.project import build
from tests.made import small_params

CPU = torch.device("cpu")
PHOTO = data.astronaut()[:24, 100:140].copy()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and an aligned model that was trained from it."""
    root = build(tmp_path_factory.mktemp("studio"))
    values = small_params()
    values["backbone"] |= {"path": "base", "steps": 2}
    values["score"] |= {"nr": ["piqe"]}
    values["run"] |= {"device": "cpu", "threads": 1}
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    (root / "photo.png").write_bytes(encode_png(PHOTO))
    return root


@pytest.fixture(scope="session")
def upscaler(project: Path) -> Upscaler:
    """With its base; 16 px tiles, so that the photo has several."""
    settings = load_settings(project / "params.yaml").backbone.located(project)
    tiling = Tiling(16, 8, 4_000)
    return Upscaler.load(project / "models/aligned/best", settings, CPU, tiling, base=project / "base")
