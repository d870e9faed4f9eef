"""A project as register finds it, and reports/evaluation.json as evaluate leaves it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from components.artifacts import tables
from components.artifacts.evaluation import Evaluation
from components.artifacts.shards import encode_png, write_shard
from components.backbones.tiny_flow import TinyFlow, TinyFlowConfig
from components.settings import Settings, load_settings
from tests.evaluations import evaluation, figures
from tests.made import small_params


def evaluated(aligned_digest: str, **changes: Any) -> Evaluation:
    """An evaluation of the model with these weights."""
    digests = {"base": "b" * 64, "aligned": aligned_digest, "sampler": "5", "metrics": "e", "normaliser": "9"}
    return evaluation(
        images=2,
        photos=2,
        reward=figures(0.5, 0.125, rewarded=True),
        metrics={"clipiqa+": figures(0.5, 0.25, rewarded=True), "psnr": figures(24.0, 0.5)},
        metric_digests={"clipiqa+": "c", "psnr": "p"},
        headline="reward 0.5000 -> 0.6250",
        **({"digests": digests} | changes),
    )


def save_model(root: Path, seed: int) -> str:
    """Random weights in models/aligned/best and an evaluation of them; their digest."""
    torch.manual_seed(seed)
    model = TinyFlow.new(TinyFlowConfig(channels=(16, 16)), steps=2, device=torch.device("cpu"))
    folder = root / "models/aligned/best"
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder)
    evaluated(model.digest("policy")).write(root)
    return model.digest("policy")


def make_project(root: Path) -> Settings:
    """A project after `report`, without the stages' work: what register reads, and little else."""
    values = small_params()
    values["backbone"] |= {"steps": 2, "colour_fix": "none"}
    values["register"] = {"experiment": "test", "model_name": "test-model", "tracking_uri": "sqlite:///mlflow.db"}
    values["run"] |= {"device": "cpu", "threads": 1}
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    save_model(root, seed=0)
    (root / "reports/index.html").write_text("<html></html>")
    (root / "reports/training.csv").write_text("step,loss,accuracy\n1,0.6931,\n2,0.5,0.75\n")
    (root / "reports/validation.csv").write_text("step,reward\n0,0.5\n2,0.625\n")
    row = {"lr_id": "a" * 16, "split": "test", "source": "s", "source_name": "n.jpg", "crop_x": 0, "crop_y": 0}
    row |= {"width": 8, "height": 8, "lr_width": 2, "lr_height": 2, "scale": 4, "has_hr": True, "shard": "00000.tar"}
    tables.write_rows(root / "data/dataset.parquet", tables.DATASET, [row | {"prompt": "", "degradation": "{}"}])
    picture = encode_png(np.zeros((8, 8, 3), np.uint8))
    names = [f"{'a' * 16}.{model}.{index:03d}.png" for model in ("base", "aligned") for index in (0, 1)]
    write_shard(root / "data/evaluation/images.tar", [(name, picture) for name in names])
    return load_settings(root / "params.yaml")


def with_base(root: Path, reference: bool) -> Settings:
    """The settings of a project of `make_project`, with a base that is here and `register.reference`."""
    if not (root / "base").is_dir():
        torch.manual_seed(9)
        (root / "base").mkdir()
        TinyFlow.new(TinyFlowConfig(channels=(16, 16)), steps=2, device=torch.device("cpu")).save(root / "base")
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["backbone"]["path"] = "base"
    values["register"]["reference"] = reference
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    return load_settings(root / "params.yaml")
