"""FLUX through generate and train: candidates with their latents, training on them, a policy for stock pipelines."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxControlNetModel

from components.artifacts import latents, tables
from components.artifacts.shards import ShardFolder
from components.backbones.loading import load_backbone
from components.backbones.restore import sample
from components.entry.main import run_stage
from components.errors import ExitCode
from components.settings import Settings, load_settings
from tests.backbones.flux_child import batch, gradients, load
from tests.backbones.tiny_flux import write_base, write_control
from tests.made import REPOSITORY, SIDE, write_dataset, write_pairs, write_params

M, TOP, STEPS = 4, 1, 2


def write_project(root: Path, precision: str, **backbone: Any) -> list[str]:
    """Settings, a dataset, a base and a ControlNet below `root`; the align split's lr_ids."""
    write_base(root / "models/flux")
    write_control(root / "models/control")
    flux = {"family": "flux_controlnet", "path": "models/control", "base": "models/flux", "steps": 2, "guidance": 2.5}
    train = {"steps": STEPS, "groups_per_step": 2, "micro_batch": 1, "warmup_steps": 0, "learning_rate": 1e-3}
    train |= {"beta": 50.0, "checkpoint_every": 1, "validate_every": 2, "validation_images": 1, "validation_seeds": 2}
    write_params(
        root,
        run={"device": "cpu"},
        backbone=flux | {"max_sequence_length": 8, "colour_fix": "adain"} | backbone,
        generate={"candidates": M, "batch": M, "shards": 1, "splits": ["align"]},
        score={"fr": ["psnr"], "nr": [], "held_out": []},
        pair={"top": TOP},
        train=train | {"precision": precision},
    )
    splits = ["align", "align", "validation"]
    return [lr_id for lr_id, split in zip(write_dataset(root, splits), splits, strict=True) if split == "align"]


@pytest.mark.parametrize(
    ("precision", "backbone"),
    [("bf16", {}), ("bf16", {"lora_rank": 2, "gradient_checkpointing": True, "dtype": "bfloat16"})],
)
def test_candidates_are_made_and_trained_on(tmp_path: Path, precision: str, backbone: dict[str, Any]) -> None:
    """Under autocast, too, policy and reference round alike: the first loss is ln 2."""
    lr_ids = write_project(tmp_path, precision, **backbone)
    assert run_stage("generate", tmp_path / "params.yaml") == ExitCode.OK
    rows = tables.read_rows(tmp_path / "data/candidates.parquet", tables.CANDIDATES)
    assert len({row["image_digest"] for row in rows}) == M * len(lr_ids)
    settings: Settings = load_settings(tmp_path / "params.yaml")
    model = load_backbone(settings, tmp_path, torch.device("cpu"))
    assert {row["model_digest"] for row in rows} == {model.digest("reference")}
    shard = ShardFolder(tmp_path / "data/candidates")[rows[0]["shard"]]
    stored = latents.decode(shard.read(latents.member(lr_ids[0], 0)), "latent")
    assert tuple(stored.shape) == model.latent_shape(SIDE, SIDE)

    write_pairs(tmp_path, lr_ids, TOP, M)
    assert run_stage("train", tmp_path / "params.yaml") == ExitCode.OK
    first = (tmp_path / "reports/training.csv").read_text().splitlines()
    loss = float(dict(zip(first[0].split(","), first[1].split(","), strict=True))["loss"])
    weights = [row["weight"] for row in tables.read_rows(tmp_path / "data/pairs.parquet", tables.PAIRS)]
    assert loss == pytest.approx(math.log(2.0) * sum(weights) / len(weights), rel=1e-6)
    trained = FluxControlNetModel.from_pretrained(tmp_path / "models/aligned/last").state_dict()
    before = FluxControlNetModel.from_pretrained(tmp_path / "models/control").state_dict()
    assert trained.keys() == before.keys()
    assert any(not torch.equal(trained[name], before[name]) for name in before)


@pytest.mark.slow
def test_two_processes_that_share_the_policy_are_one(tmp_path: Path) -> None:
    """FSDP2 over two gloo processes, a row each, against both rows in one process."""
    base, control = write_base(tmp_path / "base"), write_control(tmp_path / "control")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--module"]
    child = ["tests.backbones.flux_child", str(base), str(control), str(tmp_path)]
    subprocess.run([*launcher, *child], cwd=REPOSITORY, check=True, capture_output=True, timeout=300)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    model = load(base, control)
    for row, theirs in enumerate(found):
        latents, condition, t, noise = batch(model, row)
        policy, reference = model.errors(latents, condition, t, noise)
        (policy.sum() / 2).backward()
        assert torch.allclose(theirs["policy"], policy, rtol=1e-5)
        assert torch.allclose(theirs["reference"], reference, rtol=1e-5)
        assert torch.allclose(theirs["image"], sample(model, condition, noise).images, atol=1e-5)
    for theirs in found:
        assert theirs["gradients"].keys() == gradients(model).keys()
        assert all(torch.allclose(theirs["gradients"][n], grad, atol=1e-6) for n, grad in gradients(model).items())
