"""Stable Diffusion through generate and train: candidates with their latents, training, a policy for stock use."""

import gc
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from diffusers import ControlNetModel

from components.artifacts import latents, tables
from components.artifacts.shards import Shard, ShardFolder
from components.backbones.loading import load_backbone
from components.entry.main import run_stage
from components.errors import ExitCode
from components.in_use.folder import LOCK
from components.settings import load_settings
from components.storage.cache import CacheFolder
from components.train.batches.pairs import PairBatches
from components.train.groups import GroupImages, groups_of
from components.train.trainer import Trainer
from tests.backbones.tiny_pipelines import write_sd_base, write_sd_control
from tests.made import SIDE, write_dataset, write_pairs, write_params

pytestmark = pytest.mark.slow

M, TOP = 4, 1


def write_settings(root: Path, **backbone: Any) -> None:
    sd2 = {"family": "sd2_controlnet", "path": "models/control", "base": "models/sd2", "steps": 2, "scale": 4}
    sd2 |= {"guidance_scale": 3.5, "negative_prompt": "blur", "colour_fix": "adain"}
    train = {"steps": 2, "groups_per_step": 2, "micro_batch": 1, "warmup_steps": 0, "learning_rate": 1e-3}
    train |= {"beta": 50.0, "checkpoint_every": 1, "validate_every": 2, "validation_images": 1, "validation_seeds": 2}
    write_params(
        root,
        run={"device": "cpu"},
        backbone=sd2 | backbone,
        generate={"candidates": M, "batch": M, "shards": 1, "splits": ["align"]},
        score={"fr": ["psnr"], "nr": [], "held_out": []},
        pair={"top": TOP},
        train=train | {"t_distribution": "uniform"},
    )


def first_loss(root: Path) -> float:
    names, values = (root / "reports/training.csv").read_text().splitlines()[:2]
    return float(dict(zip(names.split(","), values.split(","), strict=True))["loss"])


def made(cache: Path) -> set[Path]:
    """Files of a cache, but for the lock of who works there."""
    return {path for path in cache.rglob("*") if path.is_file() and LOCK not in path.name}


def test_parts_of_the_work_on_several_gpus_are_the_whole(tmp_path: Path) -> None:
    """Two parts, each by a process of its own in life, fill the cache; the run that collects makes nothing, and its
    files are those of one process, byte for byte. Likewise the scores."""
    base = write_sd_base(tmp_path / "whole/models/sd2")
    write_sd_control(tmp_path / "whole/models/control", base)
    write_dataset(tmp_path / "whole", ["align", "align", "align", "validation"])
    write_settings(tmp_path / "whole", steps=1)
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    outputs = ("data/candidates/00000-of-00001.tar", "data/candidates.parquet", "data/scores.parquet")
    for stage in ("generate", "score"):
        assert run_stage(stage, tmp_path / "whole/params.yaml") == ExitCode.OK
        done = []
        for index in (1, 0):  # whichever GPU comes first
            before = made(tmp_path / "parts/cache")
            assert run_stage(stage, tmp_path / "parts/params.yaml", Shard(index, 2)) == ExitCode.OK
            done.append(len(made(tmp_path / "parts/cache") - before))
        assert sum(done) == 3
        assert min(done) > 0
        cached = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts/cache").rglob("*") if path.is_file()}
        assert run_stage(stage, tmp_path / "parts/params.yaml") == ExitCode.OK
        assert cached == {
            path: path.stat().st_mtime_ns for path in (tmp_path / "parts/cache").rglob("*") if path.is_file()
        }
    for name in outputs:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_memory_does_not_grow_over_steps(tmp_path: Path) -> None:
    """Tensors alive after each step, once conditions are cached: encodings, activations and gradients are let go."""
    base = write_sd_base(tmp_path / "models/sd2")
    write_sd_control(tmp_path / "models/control", base)
    lr_ids = write_dataset(tmp_path, ["align", "align", "validation"])[:2]
    write_settings(tmp_path)
    assert run_stage("generate", tmp_path / "params.yaml") == ExitCode.OK
    write_pairs(tmp_path, lr_ids, TOP, M)
    settings = load_settings(tmp_path / "params.yaml")
    plan = settings.train.model_copy(update={"steps": 8, "validate_every": 100, "checkpoint_every": 100})
    read = [tables.read_rows(tmp_path / f"data/{name}.parquet", schema) for name, schema in
            (("dataset", tables.DATASET), ("candidates", tables.CANDIDATES), ("pairs", tables.PAIRS))]  # fmt: skip
    alive: list[int] = []
    backbone, accelerator = load_backbone(settings, tmp_path, torch.device("cpu")), Accelerator(cpu=True)
    images = GroupImages(tmp_path, read[0], read[1])
    batches = PairBatches(plan, backbone, groups_of(read[2]), images, accelerator)
    cache = CacheFolder(tmp_path / "checkpoints")
    trainer = Trainer(plan, backbone, batches, lambda: {"reward": 0.5}, cache, accelerator)
    step = trainer._step

    def watched(*arguments: Any) -> None:
        step(*arguments)
        gc.collect()
        tensors = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter)]
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
        alive.append(sum(storages.values()))

    trainer._step = watched  # type: ignore[method-assign]
    trainer.run()
    assert len(alive) == 8
    assert max(alive[2:]) - min(alive[2:]) < 1000  # bytes; a row's activations alone are a hundred times that


def test_candidates_are_made_and_trained_on(tmp_path: Path) -> None:
    base = write_sd_base(tmp_path / "models/sd2")
    write_sd_control(tmp_path / "models/control", base)
    lr_ids = write_dataset(tmp_path, ["align", "align", "validation"])[:2]
    write_settings(tmp_path, dtype="bfloat16")
    assert run_stage("generate", tmp_path / "params.yaml") == ExitCode.OK
    rows = tables.read_rows(tmp_path / "data/candidates.parquet", tables.CANDIDATES)
    assert len({row["image_digest"] for row in rows}) == M * len(lr_ids)
    model = load_backbone(load_settings(tmp_path / "params.yaml"), tmp_path, torch.device("cpu"))
    assert {row["model_digest"] for row in rows} == {model.digest("reference")}
    shard = ShardFolder(tmp_path / "data/candidates")[rows[0]["shard"]]
    stored = latents.decode(shard.read(latents.member(lr_ids[0], 0)), "latent")
    assert tuple(stored.shape) == model.latent_shape(SIDE, SIDE)

    write_pairs(tmp_path, lr_ids, TOP, M)
    weights = [row["weight"] for row in tables.read_rows(tmp_path / "data/pairs.parquet", tables.PAIRS)]
    before = ControlNetModel.from_pretrained(tmp_path / "models/control").state_dict()
    # The second run finds the first one's checkpoints of another kind of policy, and starts anew.
    for backbone in ({}, {"lora_rank": 2, "gradient_checkpointing": True}):
        write_settings(tmp_path, dtype="bfloat16", **backbone)
        assert run_stage("train", tmp_path / "params.yaml") == ExitCode.OK
        assert first_loss(tmp_path) == pytest.approx(math.log(2.0) * sum(weights) / len(weights), rel=1e-4)
        trained = ControlNetModel.from_pretrained(tmp_path / "models/aligned/last").state_dict()
        assert trained.keys() == before.keys()
        assert any(not torch.equal(trained[name], before[name]) for name in before)
    adapter = load_backbone(load_settings(tmp_path / "params.yaml"), tmp_path, torch.device("cpu"))
    adapter.load_policy(tmp_path / "models/aligned/last")
    assert adapter.digest("policy") != adapter.digest("reference") == model.digest("reference")
