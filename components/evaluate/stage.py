"""Base against aligned on the test split, with peers: every metric, the reward, and how sure the difference is."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.artifacts import paths, tables
from components.artifacts.evaluation import DEVIATION_STEPS, Evaluation, SeedDeviation, deviation_member
from components.artifacts.shards import Shard, decode_png, encode_png, write_shard
from components.backbones.loading import SavedModel
from components.errors import BadInput
from components.evaluate.comparison import Scored
from components.evaluate.controls import Tuned, tune, with_control
from components.evaluate.evaluator import Evaluator
from components.evaluate.figures import Controlled, evaluated
from components.evaluate.mixtures import mixture_restorers
from components.judge.guards import deviation_map, diversity
from components.judge.images import EvaluationImage
from components.judge.measure import Measured
from components.judge.restorers import Restorer
from components.settings import Settings

logger = logging.getLogger("dp2o.evaluate")

IMAGES_KEPT = 2
"""Restorations of each image and model that are published as pictures, for the report."""


def run(settings: Settings, root: Path, shard: Shard | None = None) -> None:
    """Publish reports/evaluation.{json,parquet}, reports/normaliser.json and data/evaluation/images.tar.

    With `shard`, only fill that part of the cache.

    Raises:
        BadInput: dataset, base model, aligned model, metric weights or a peer's package are missing or do not fit.
    """
    evaluator = Evaluator.load(settings, root, shard=shard)
    aligned_folder = root / paths.BEST
    if not aligned_folder.is_dir():
        raise BadInput(f"{aligned_folder} does not exist; run train first (`dvc repro` runs all in order)")
    with evaluator.judge:
        _evaluate(evaluator, root, aligned_folder, shard)


def _evaluate(evaluator: Evaluator, root: Path, aligned_folder: Path, shard: Shard | None) -> None:
    model = SavedModel(evaluator.settings.backbone.located(root), str(evaluator.device), aligned_folder)
    base, aligned = evaluator.saved("base", model, "reference"), evaluator.saved("aligned", model, "policy")
    # A part of the work leaves the controls to the whole: their values must come from all validation images.
    controls = _controls(evaluator, root, model) if shard is None else {}
    controlling = (restorer for _, restorer in controls.values() if restorer)
    restorers = [base, aligned, *mixture_restorers(evaluator, model), *controlling, *evaluator.peers()]
    measured = {found.name: found for found in evaluator.measure(*restorers)}
    if shard is not None:
        return
    normaliser = evaluator.normaliser(measured["base"])
    scored = {name: evaluator.scored(result, normaliser) for name, result in measured.items()}
    digests = {
        **{name: restorer.weights_digest for name, restorer in zip(measured, restorers, strict=True)},
        "sampler": evaluator.judge.models.digests(model, "reference")[1],
        "metrics": evaluator.judge.digest(evaluator.metrics),
        "normaliser": normaliser.digest,
    }
    controlled = {
        name: Controlled(tuned, scored.get(_of_control(name), scored["base"])) for name, (tuned, _) in controls.items()
    }
    evaluation = evaluated(evaluator, scored, controlled, normaliser, _failures(measured), digests)
    if evaluator.settings.evaluate.seeds > 1:
        deviation = SeedDeviation(base=_deviation(evaluator, base), aligned=_deviation(evaluator, aligned))
        evaluation = evaluation.model_copy(update={"seed_deviation": deviation})
    normaliser.save(root / paths.NORMALISER)
    _publish(evaluator, root, restorers, scored, evaluation)


def _failures(measured: Mapping[str, Measured]) -> list[dict[str, str | int]]:
    """Of all models; the first are told."""
    failures = [failure for result in measured.values() for failure in result.failures]
    for failure in failures[:20]:
        logger.warning("%(model)s %(lr_id)s index %(index)d: %(metric)s gave %(reason)s (%(detail)s)", failure)
    return failures


def _publish(
    evaluator: Evaluator,
    root: Path,
    restorers: Sequence[Restorer],
    scored: Mapping[str, Scored],
    evaluation: Evaluation,
) -> None:
    write_shard(root / paths.EVALUATION_PICTURES, _pictures(evaluator, restorers))
    names = evaluator.metrics
    rows = [row for name, result in scored.items() for row in _rows(name, result, names)]
    tables.write_rows(root / paths.EVALUATION_ROWS, tables.evaluation_schema(names), rows)
    evaluation.write(root)
    logger.info("%s", evaluation.headline)


def _of_control(name: str) -> str:
    return f"base, {name}"


def _controls(evaluator: Evaluator, root: Path, model: SavedModel) -> dict[str, tuple[Tuned, Restorer | None]]:
    """Each control at its best value, and its restorer; None where nothing beats the base as it is."""
    settings = evaluator.settings
    found: dict[str, tuple[Tuned, Restorer | None]] = {}
    for name in settings.evaluate.controls:
        base = replace(model, policy=None)
        tuned = tune(settings, root, name, base, evaluator.judge)
        restorer = None
        if tuned.value != getattr(settings.backbone, name):
            restorer = evaluator.saved(_of_control(name), with_control(base, name, tuned.value), "reference")
        found[name] = (tuned, restorer)
        logger.info("control %s: best validation reward at %g, of %s", name, tuned.value, tuned.rewards)
    return found


def _rows(model: str, scored: Scored, metrics: Sequence[str]) -> Iterator[tables.Row]:
    for measurement, reward in zip(scored.measurements, scored.rewards, strict=True):
        values = {name: measurement.values.get(name) for name in metrics}
        yield {"model": model, "lr_id": measurement.lr_id, "index": measurement.index, **values, "reward": reward}


def _deviation(evaluator: Evaluator, restorer: Restorer) -> float:
    """Mean over the images of how far its restorations of one are apart, grey levels."""
    return float(np.mean([diversity(_decoded(evaluator, restorer, image)) for image in evaluator.images]))


def _decoded(evaluator: Evaluator, restorer: Restorer, image: EvaluationImage) -> list[NDArray[np.uint8]]:
    return [decode_png(content) for content in evaluator.judge.restored(restorer, image)]


def _pictures(evaluator: Evaluator, restorers: Sequence[Restorer]) -> Iterator[tuple[str, bytes]]:
    """Members `<lr_id>.<model>.<index>.png`, and of base and aligned where their seeds disagree."""
    for image in evaluator.images:
        for restorer in restorers:
            contents = evaluator.judge.restored(restorer, image)
            for index, content in enumerate(contents[:IMAGES_KEPT]):
                yield f"{image.lr_id}.{restorer.name}.{index:03d}.png", content
            if restorer.name in ("base", "aligned") and len(contents) > 1:
                levels = deviation_map([decode_png(content) for content in contents]) * DEVIATION_STEPS
                grey = np.rint(levels.clip(0, 255)).astype(np.uint8)
                yield deviation_member(image.lr_id, restorer.name), encode_png(np.repeat(grey[..., None], 3, axis=2))
