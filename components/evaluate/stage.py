"""Base against aligned on the test split, with peers: every metric, the reward, and how sure the difference is."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from components.artifacts import tables
from components.artifacts.publish import write_json
from components.artifacts.shards import Shard, write_shard
from components.backbones.base import Backbone, Branch, Source
from components.backbones.loading import SavedModel, saved_files
from components.errors import BadInput
from components.evaluate.anatomy import anatomy
from components.evaluate.comparison import Scored, compare, headline, means
from components.evaluate.controls import Tuned, tune, with_control
from components.evaluate.peers import peer_restorer
from components.judge.images import EvaluationSet
from components.judge.measure import Judge, Measured
from components.judge.restorers import Restorer, Sampling, model_restorer, saved_restorer
from components.judge.rewards import fit_normaliser, rewards
from components.metrics.table import LR_CONSISTENCY
from components.process import resolve_device
from components.rewards.alignment import rewarded_metrics
from components.rewards.normaliser import FixedNormaliser
from components.settings import Settings

logger = logging.getLogger("dp2o.evaluate")

IMAGES_KEPT = 2
"""Restorations of each image and model that are published as pictures, for the report."""


@dataclass(frozen=True)
class Evaluator:
    """The evaluation set and the judge of it; measures any number of models.

    Attributes:
        metrics: names of all that images are scored by.
    """

    settings: Settings
    images: EvaluationSet
    metrics: list[str]
    judge: Judge
    device: torch.device

    @classmethod
    def load(cls, settings: Settings, root: Path, split: str = "test", shard: Shard | None = None) -> "Evaluator":
        """Evaluator of `split`, or of one shard of it.

        Raises:
            BadInput: the split is empty, or a metric's weights are missing.
        """
        images = EvaluationSet(root, split, shard)
        device = resolve_device(settings.run.device, shard)
        metrics = list(settings.score.all_metrics)
        known = metrics if LR_CONSISTENCY in metrics else [*metrics, LR_CONSISTENCY]  # controls may need it
        if len(images.with_hr) < len(images):
            metrics = known
        return cls(settings, images, metrics, Judge(settings, root, known, device, saved_files(settings, root)), device)

    @property
    def sampling(self) -> Sampling:
        """The settings' seeds, batch and colour fix."""
        settings = self.settings
        return Sampling(settings.evaluate.seeds, settings.generate.batch, settings.backbone.colour_fix)

    def model(self, name: str, backbone: Backbone, source: Source) -> Restorer:
        """A loaded backbone's branch, or a mixture of both, as a restorer."""
        return model_restorer(name, backbone, source, self.sampling)

    def saved(self, name: str, model: SavedModel, branch: Branch) -> Restorer:
        """A saved model's branch as a restorer."""
        return saved_restorer(name, model, branch, self.sampling, self.judge.models)

    def peers(self) -> list[Restorer]:
        """The settings' peers."""
        scale = self.images.scale
        return [peer_restorer(name, scale, self.device) for name in self.settings.evaluate.peers]

    def measure(self, *restorers: Restorer) -> list[Measured]:
        """Restore and score all images by each, as far as they are not in the cache."""
        return self.judge.measure(restorers, self.images, self.metrics)

    def rewarded(self, lr_id: str) -> list[str]:
        """Metrics that make the reward of an image."""
        return rewarded_metrics(self.settings.score.fr, self.settings.score.nr, lr_id in self.images.with_hr)

    def normaliser(self, baseline: Measured) -> FixedNormaliser:
        """Bounds fixed on the base model's restorations."""
        return fit_normaliser(baseline.measurements, self.rewarded)

    def scored(self, measured: Measured, normaliser: FixedNormaliser) -> Scored:
        """Measurements with their fixed-normaliser rewards."""
        return Scored.of(measured.measurements, rewards(measured.measurements, self.rewarded, normaliser))

    def compare(self, base: Scored, aligned: Scored) -> dict[str, Any]:
        """Paired comparison, clustered by source photo; see `comparison.compare`."""
        in_reward = sorted({name for lr_id in self.images.photos for name in self.rewarded(lr_id)})
        settings = self.settings.evaluate
        return compare(
            base,
            aligned,
            self.metrics,
            in_reward,
            self.images.photos,
            resamples=settings.bootstrap,
            confidence=settings.confidence,
            seed=settings.seed,
        )


def run(settings: Settings, root: Path, shard: Shard | None = None) -> None:
    """Publish reports/evaluation.{json,parquet}, reports/normaliser.json and data/evaluation/images.tar.

    With `shard`, only fill that part of the cache.

    Raises:
        BadInput: dataset, base model, aligned model, metric weights or a peer's package are missing or do not fit.
    """
    evaluator = Evaluator.load(settings, root, shard=shard)
    aligned_folder = root / "models/aligned/best"
    if not aligned_folder.is_dir():
        raise BadInput(f"{aligned_folder} does not exist; run train first (`dvc repro` runs all in order)")
    with evaluator.judge:
        _evaluate(evaluator, root, aligned_folder, shard)


def _evaluate(evaluator: Evaluator, root: Path, aligned_folder: Path, shard: Shard | None) -> None:
    settings = evaluator.settings
    model = SavedModel(settings.backbone.located(root), str(evaluator.device), aligned_folder)
    base, aligned = evaluator.saved("base", model, "reference"), evaluator.saved("aligned", model, "policy")
    # A part of the work leaves the controls to the whole: their values must come from all validation images.
    controls = _controls(evaluator, root, model) if shard is None else {}
    restorers = [base, aligned, *(restorer for _, restorer in controls.values() if restorer), *evaluator.peers()]
    measured = {found.name: found for found in evaluator.measure(*restorers)}
    if shard is not None:
        return

    normaliser = evaluator.normaliser(measured["base"])
    scored = {name: evaluator.scored(result, normaliser) for name, result in measured.items()}
    failures = [failure for result in measured.values() for failure in result.failures]
    for failure in failures[:20]:
        logger.warning("%(model)s %(lr_id)s index %(index)d: %(metric)s gave %(reason)s (%(detail)s)", failure)
    evaluation = evaluator.compare(scored["base"], scored["aligned"]) | {
        "seeds": settings.evaluate.seeds,
        "bootstrap": settings.evaluate.bootstrap,
        "clusters": "source photo",
        "peers": {name: means(scored[name], evaluator.metrics) for name in settings.evaluate.peers},
        "controls": {
            name: _control_figures(evaluator, tuned, scored["aligned"], scored.get(_of_control(name), scored["base"]))
            for name, (tuned, _) in controls.items()
        },
        "anatomy": anatomy(
            scored["base"], scored["aligned"], settings.score.fr, settings.score.nr, normaliser, evaluator.images.photos
        ),
        "failed_scores": len(failures),
        "failures": failures,
        "digests": {
            **{name: restorer.weights_digest for name, restorer in zip(measured, restorers, strict=True)},
            "sampler": evaluator.judge.models.digests(model, "reference")[1],
            "metrics": evaluator.judge.digest(evaluator.metrics),
            "normaliser": normaliser.digest,
        },
        "metric_digests": {name: evaluator.judge.digests[name] for name in evaluator.metrics},
    }
    evaluation["headline"] = headline(evaluation)
    normaliser.save(root / "reports/normaliser.json")
    write_shard(root / "data/evaluation/images.tar", _pictures(evaluator, restorers))
    names = evaluator.metrics
    rows = [row for name, result in scored.items() for row in _rows(name, result, names)]
    tables.write_rows(root / "reports/evaluation.parquet", tables.evaluation_schema(names), rows)
    write_json(root / "reports/evaluation.json", evaluation)
    logger.info("%s", evaluation["headline"])


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


def _control_figures(evaluator: Evaluator, tuned: Tuned, aligned: Scored, control: Scored) -> dict[str, Any]:
    compared = evaluator.compare(control, aligned)
    kept = ("base", "aligned", "difference", "ci_low", "ci_high", "verdict")
    return {
        "value": tuned.value,
        "validation_rewards": tuned.rewards,
        "reward": {("control" if key == "base" else key): compared["reward"][key] for key in kept},
        "metrics": {
            name: {("control" if key == "base" else key): row[key] for key in kept}
            for name, row in compared["metrics"].items()
        },
        "win_rate": compared["win_rate"],
    }


def _rows(model: str, scored: Scored, metrics: Sequence[str]) -> Iterator[tables.Row]:
    for measurement, reward in zip(scored.measurements, scored.rewards, strict=True):
        values = {name: measurement.values.get(name) for name in metrics}
        yield {"model": model, "lr_id": measurement.lr_id, "index": measurement.index, **values, "reward": reward}


def _pictures(evaluator: Evaluator, restorers: Sequence[Restorer]) -> Iterator[tuple[str, bytes]]:
    """Members `<lr_id>.<model>.<index>.png`."""
    for image in evaluator.images:
        for restorer in restorers:
            for index, content in enumerate(evaluator.judge.restored(restorer, image)[:IMAGES_KEPT]):
                yield f"{image.lr_id}.{restorer.name}.{index:03d}.png", content
