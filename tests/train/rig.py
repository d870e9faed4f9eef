"""A trainer on a made project: real images, groups, checkpoints and network; only the validation is made up."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from components.artifacts import tables
from components.backbones.base import Condition
from components.backbones.tiny_flow import TinyFlow
from components.storage.cache import CacheFolder
from components.train.batches.pairs import PairBatches
from components.train.groups import GroupImages, groups_of
from components.train.trainer import Trainer
from tests.made import tiny_model, write_candidates, write_dataset, write_pairs, write_params

COUNT, TOP = 6, 2
GROUPS = 6
SHORT: dict[str, Any] = {
    "groups_per_step": 4,
    "micro_batch": 2,
    "steps": 4,
    "learning_rate": 1e-3,
    "warmup_steps": 2,
    "max_gradient_norm": 1e9,
    "checkpoint_every": 2,
    "validate_every": 2,
    "validation_images": 3,
    "validation_seeds": 1,
}


class DoubleFlow(TinyFlow):
    """TinyFlow in float64, so that equivalences hold to more digits than the sums' order costs."""

    def encode(self, images: Tensor) -> Tensor:
        return images.to(self.device, torch.float64)

    def condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        return super().condition(lr.double(), prompts)


def in_double(single: TinyFlow) -> DoubleFlow:
    """The same model in float64; `single` is no longer to be used."""
    return DoubleFlow(single.config, single.policy.double(), single.sampler.steps, single.device)


def double_model() -> DoubleFlow:
    """A policy a little away from its reference, in float64."""
    model = in_double(tiny_model())
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(1e-4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def write_project(root: Path) -> None:
    """Dataset, candidates and pairs."""
    ids = write_dataset(root, ["align"] * GROUPS + ["validation"] * 3)
    write_candidates(root, ids[:GROUPS], COUNT)
    write_pairs(root, ids[:GROUPS], TOP, COUNT)


def images_of(root: Path) -> GroupImages:
    return GroupImages(
        root,
        tables.read_rows(root / "data/dataset.parquet", tables.DATASET),
        tables.read_rows(root / "data/candidates.parquet", tables.CANDIDATES),
    )


def trainer(
    root: Path,
    folder: str = "checkpoints",
    backbone: TinyFlow | None = None,
    validate: Callable[[], dict[str, float]] = lambda: {"reward": 0.5},
    **train: Any,
) -> Trainer:
    """A trainer on the project below `root`, with `train` over SHORT."""
    train = SHORT | train
    train["warmup_steps"] = min(train["warmup_steps"], train["steps"])
    settings = write_params(root, train=train, pair={"top": TOP, "builder": _builder(train)})
    pairs = groups_of(tables.read_rows(root / "data/pairs.parquet", tables.PAIRS))
    chosen = tiny_model() if backbone is None else backbone
    accelerator = Accelerator(mixed_precision=settings.train.precision, cpu=True)
    cache = CacheFolder(root / folder)
    batches = PairBatches(settings.train, chosen, pairs, images_of(root), accelerator)
    return Trainer(settings.train, chosen, batches, validate, cache, accelerator)


def _builder(train: dict[str, Any]) -> str:
    return "winners_only" if train.get("objective") == "winners_only" else "dp2o"
