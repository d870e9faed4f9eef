"""Preference pairs to an aligned policy: last and best checkpoints, and the curves."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from components.artifacts import paths, tables
from components.artifacts.images import to_tensor
from components.artifacts.shards import Shard, ShardFolder
from components.artifacts.training import TrainingSummary
from components.backbones.base import Backbone
from components.backbones.loading import load_backbone
from components.backbones.samplers.stochastic import with_steps
from components.errors import BadInput
from components.judge.diagnosis import diagnose, stopped
from components.judge.guards import GUARDS
from components.metrics.base import digest as metric_digest
from components.metrics.suite import Suite
from components.rewards.alignment import rewarded_metrics
from components.runtime.process import resolve_device
from components.settings import BirdSource, NFTSource, PRDPSource, Settings
from components.settings.families import family_of
from components.storage import digests
from components.storage.publish import atomic_folder, write_text
from components.train import processes
from components.train.batches import Batches, Later
from components.train.batches.nft import NFTBatches
from components.train.batches.pairs import PairBatches
from components.train.batches.prdp import PRDPBatches
from components.train.batches.rewards import RewardBatches
from components.train.batches.verdicts import Verdicts
from components.train.checkpoints import TrainingState
from components.train.groups import GroupImages, groups_of
from components.train.held_out import PairAccuracy, evenly, set_aside
from components.train.limits import FALLING
from components.train.objectives import require_columns
from components.train.trainer import Trainer
from components.train.validation import Validation, ValidationImage

logger = logging.getLogger("dp2o.train")

CODE_VERSION = "2"
"""Raised whenever the same inputs would give another training: checkpoints of another version are not continued."""


@dataclass(frozen=True)
class Start:
    """Where a training begins: with the base, or as a later round (`components.rounds`) with what was trained before.

    Attributes:
        number: of the round, from 1.
        policy: folder of the policy that the round before ended with; None for the base.
        steps: that the rounds before took; draws and the order of groups go on from there.
        base: validation of the base, which train.limits compare with.
    """

    number: int = 1
    policy: Path | None = None
    steps: int = 0
    base: Mapping[str, float] | None = None


BASE = Start()


def run(settings: Settings, root: Path, shard: Shard | None = None, start: Start = BASE) -> None:
    """Publish models/aligned/{best,last}, models/aligned/summary.json, reports/training.csv and reports/validation.csv.

    Several processes are started by `accelerate launch --config_file launch/ddp.yaml -m components.train`, or
    launch/fsdp2.yaml, or `torchrun --nproc-per-node N -m components.train`; the result is the same up to rounding.

    Args:
        settings, root, shard: as for every stage.
        start: what the policy begins with; the reference is the base in any case.

    Raises:
        BadInput: a shard or several rounds are asked for, or an input is missing or does not fit.
        ResumeLater: SIGTERM or SIGINT came and the state is saved.
    """
    if shard is not None:
        raise BadInput(
            "train cannot be sharded; for several processes use `torchrun --nproc-per-node N -m components.train`"
        )
    if settings.train.rounds > 1:
        raise BadInput(
            f"train.rounds {settings.train.rounds} samples, scores and pairs again between trainings: start it with "
            "`dp2o run`, or set it to 1"
        )
    device = resolve_device(settings.run.device)
    if device.type == "cpu" and settings.train.precision == "fp16":
        raise BadInput('train.precision fp16 needs a GPU; on a CPU set it to "no" or bf16')
    accelerator = processes.start(device, settings.train.precision)
    if accelerator.is_fsdp2 and not family_of(settings.backbone.family).limits.spread:
        raise BadInput(
            f"FSDP2 is for policies that do not fit one GPU, {settings.backbone.family} does: launch with "
            "launch/ddp.yaml"
        )
    dataset = tables.read_rows(root / paths.DATASET_ROWS, tables.DATASET)
    candidates = tables.read_rows(root / paths.CANDIDATE_ROWS, tables.CANDIDATES)
    pairs = tables.read_dialled(root / paths.PAIRS, tables.PAIRS)
    if settings.train.source.of_pairs:
        require_columns(settings.train.objective, pairs)
    backbone = load_backbone(settings, root, accelerator.device)
    if any(row["preference"] is not None for row in pairs):
        backbone.add_dial()
    if start.policy is not None:
        backbone.load_policy(start.policy)
    validation = validation_of(settings, root, dataset, accelerator)
    key = determined_by(settings, root, backbone, validation)
    if start.policy is not None:
        key["start"] = [start.number, start.steps, backbone.digest("policy"), start.base]
    images = GroupImages(root, dataset, candidates)
    batches, accuracy = batches_of(settings, backbone, pairs, dataset, images, accelerator, start.number)
    trainer = Trainer(
        settings.train,
        backbone,
        Later(batches, start.steps) if start.steps else batches,
        lambda: validation.measure(backbone) | (accuracy.measure(backbone) if accuracy else {}),
        settings.run.cache_folder(root).below("train", digests.of_json(key)[:16]),
        accelerator,
        start.base,
    )
    state = trainer.run()
    if not accelerator.is_main_process:
        return
    if accelerator.is_fsdp2:
        # This process's own policy is a part of one. The frozen parts are float16 on GPUs only.
        whole = settings.backbone.model_copy(update={"dtype": "bfloat16", "compile": False})
        backbone = load_backbone(settings.model_copy(update={"backbone": whole}), root, torch.device("cpu"))
    else:
        backbone.policy = accelerator.unwrap_model(backbone.policy)
    publish(backbone, {"last": state.policy | state.average, "best": state.best_policy}, root / paths.ALIGNED)
    write_curves(state, root, key["model"], settings.train.winner_stop)


def determined_by(settings: Settings, root: Path, backbone: Backbone, validation: Validation) -> dict[str, Any]:
    """All that determines a training: checkpoints of another one are not continued."""
    key: dict[str, Any] = {
        "code": CODE_VERSION,
        "train": settings.train.model_dump(exclude={"micro_batch", "checkpoint_every", "condition_cache_mb"}),
        "pairs": digests.of_file(root / paths.PAIRS),
        "candidates": digests.of_file(root / paths.CANDIDATE_ROWS),
        "dataset": digests.of_file(root / paths.DATASET_ROWS),
        "model": backbone.digest("reference"),
        "sampler": [backbone.sampler.digest, settings.backbone.colour_fix],
        "validation": validation.metrics_digest,
    }
    source = settings.train.source
    if source.metrics:
        key["rewards"] = [metric_digest(name) for name in source.metrics]
    if source.rolled:
        key["rewards"] = {
            "fr": {name: metric_digest(name) for name in settings.score.fr},
            "nr": {name: metric_digest(name) for name in settings.score.nr},
            "scalariser": settings.pair.scalariser.model_dump(),
        }
    if settings.backbone.adapter_rank is not None:
        key["lora_rank"] = settings.backbone.adapter_rank  # an adapter's checkpoint fits no other policy
    return key


def batches_of(
    settings: Settings,
    backbone: Backbone,
    pairs: Sequence[tables.Row],
    dataset: Sequence[tables.Row],
    images: GroupImages,
    accelerator: Accelerator,
    number: int = 1,
) -> tuple[Batches[Any], PairAccuracy | None]:
    """Batches of the groups that are trained on, and what measures the others; None where none are held out.

    Raises:
        BadInput: nothing would be left to train on, or groups cannot be dealt evenly to the processes.
    """
    if not settings.train.source.of_pairs:
        return _without_pairs(settings, backbone, dataset, images, accelerator), None
    photos = {row["lr_id"]: row["source"] for row in dataset}
    train, sampled = settings.train, backbone.sampler.levels
    groups, held = set_aside(groups_of(pairs), photos, train.held_out_groups, train.seed)
    batches = PairBatches(train, backbone, groups, images, accelerator, sampled, number)
    if not held:
        return batches, None
    own = evenly(groups, len(held))
    return batches, PairAccuracy(batches, own, list(held.values()), partial(processes.share, accelerator))


def _without_pairs(
    settings: Settings,
    backbone: Backbone,
    dataset: Sequence[tables.Row],
    images: GroupImages,
    accelerator: Accelerator,
) -> Batches[Any]:
    train, source = settings.train, settings.train.source
    has_hr = {row["lr_id"]: bool(row["has_hr"]) for row in dataset if row["split"] == "align"}
    sampler = backbone.sampler
    if isinstance(source, BirdSource):
        return RewardBatches(train, source, backbone, has_hr, images, accelerator, sampler.levels)
    verdicts = Verdicts.of(settings, has_hr, images, accelerator.device)
    steps: int = getattr(settings.backbone, "steps")  # noqa: B009  # every family has it, each in its own block
    if isinstance(source, NFTSource):
        own = sampler if source.steps is None else with_steps(sampler, source.steps)
        return NFTBatches(train, source, backbone, own, verdicts, accelerator)
    assert isinstance(source, PRDPSource)  # there is no other
    return PRDPBatches(train, source, backbone, steps, verdicts, accelerator)


def write_curves(state: TrainingState, root: Path, reference_digest: str, winner_stop: float) -> None:
    """Publish models/aligned/summary.json and the curves, and say what went wrong."""
    summary = TrainingSummary(
        reference_digest=reference_digest,
        steps=state.step,
        best_step=state.best_step,
        best_validation_reward=state.best_reward,
        base_validation_reward=state.validation[0]["reward"],
        last_validation_reward=state.validation[-1]["reward"],
    )
    summary.write(root)
    # Speed differs from run to run; apart from the curves, so that these are the same bytes in two runs.
    write_text(root / paths.THROUGHPUT, as_csv(state.log, ["step", "images_per_s"]))
    write_text(root / paths.TRAINING_CURVE, as_csv(state.log, [n for n in state.log[0] if n != "images_per_s"]))
    write_text(root / paths.VALIDATION_CURVE, as_csv(state.validation, list(state.validation[0])))
    logger.info(
        "validation reward %.4f (base) -> %.4f (best, step %d), %.4f (last, step %d)",
        summary.base_validation_reward, state.best_reward, state.best_step, summary.last_validation_reward,
        state.step,
    )  # fmt: skip
    if (end := stopped(state.log, winner_stop)) is not None:
        logger.warning("%s", end)
    for finding in diagnose(state.log, state.validation):
        logger.warning("%s", finding)


def validation_of(
    settings: Settings, root: Path, dataset: Sequence[tables.Row], accelerator: Accelerator
) -> Validation:
    """Validation on images spread evenly over the split, so that few images still mean many photos.

    Images without HR are used only if no image has one: rewards with and without FR metrics do not average.

    Raises:
        BadInput: the validation split is empty.
    """
    rows = [row for row in dataset if row["split"] == "validation"]
    if not rows:
        raise BadInput(
            "the validation split of data/dataset.parquet is empty; raise prepare.split.validation or add photos"
        )
    with_hr = [row for row in rows if row["has_hr"]]
    usable = sorted(with_hr or rows, key=lambda row: (row["source"], row["lr_id"]))
    count = min(settings.train.validation_images, len(usable))
    chosen = [usable[place] for place in np.linspace(0, len(usable) - 1, count).round().astype(int)]
    shards = ShardFolder(root / paths.DATASET)
    images = []
    for row in chosen:
        lr_id, shard = row["lr_id"], shards[row["shard"]]
        hr = to_tensor(shard.image(f"{lr_id}.hr.png")) if row["has_hr"] else None
        images.append(ValidationImage(lr_id, to_tensor(shard.image(f"{lr_id}.lr.png")), hr, row["prompt"]))
    rewarded = rewarded_metrics(settings.score.fr, settings.score.nr, bool(with_hr))
    limited = [name for name in FALLING if name in settings.train.limits and with_hr and name not in rewarded]
    suite = Suite.load([*rewarded, *limited], accelerator.device)
    return Validation(
        images,
        settings.train.validation_seeds,
        suite,
        settings.backbone.colour_fix,
        partial(processes.share, accelerator),
        rewarded,
        [name for name in GUARDS if name in settings.train.limits],
    )


def publish(backbone: Backbone, states: dict[str, dict[str, torch.Tensor]], folder: Path) -> None:
    """Write each policy as a backbone folder below `folder`, all at once."""
    with atomic_folder(folder) as temporary:
        for name, state in states.items():
            processes.load_policy_state(backbone.policy, state)
            (temporary / name).mkdir()
            backbone.save(temporary / name)


def as_csv(rows: Sequence[dict[str, float]], columns: Sequence[str]) -> str:
    """CSV text of the given columns, numbers at full precision."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[row[name] for name in columns] for row in rows])
    return buffer.getvalue()
