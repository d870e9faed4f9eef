"""The evaluation set and its judge: measures, rewards and compares any number of models."""

from dataclasses import dataclass
from pathlib import Path

import torch

from components.artifacts.evaluation import Comparison
from components.artifacts.shards import Shard
from components.backbones.base import Backbone, Source
from components.backbones.loading import SavedModel, saved_files
from components.evaluate.comparison import Scored, compare
from components.evaluate.peers import peer_restorer
from components.judge.images import EvaluationSet
from components.judge.measure import Judge, Measured
from components.judge.restorers import Restorer, Sampling, model_restorer, saved_restorer
from components.judge.rewards import fit_normaliser, rewards
from components.metrics.table import LR_CONSISTENCY
from components.rewards.alignment import rewarded_metrics
from components.rewards.normaliser import FixedNormaliser
from components.runtime.process import resolve_device
from components.settings import Settings


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

    def saved(self, name: str, model: SavedModel, source: Source) -> Restorer:
        """A saved model's branch, or a mixture of both, as a restorer."""
        return saved_restorer(name, model, source, self.sampling, self.judge.models)

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

    def compare(self, base: Scored, aligned: Scored, has_hr: bool | None = None) -> Comparison:
        """Paired comparison on the images of one kind, clustered by source photo; see `comparison.compare`.

        Args:
            has_hr: the images with an HR, or those without; by default the kind of `has_hr`.
        """
        kind = self.has_hr if has_hr is None else has_hr
        lr_ids, settings = self.of_kind(kind), self.settings.evaluate
        return compare(
            base.of_images(lr_ids),
            aligned.of_images(lr_ids),
            self.metrics,
            rewarded_metrics(self.settings.score.fr, self.settings.score.nr, kind),
            self.images.photos,
            resamples=settings.bootstrap,
            confidence=settings.confidence,
            seed=settings.seed,
        )

    @property
    def has_hr(self) -> bool:
        """Whether there are images with an HR: those are what the figures are of."""
        return bool(self.images.with_hr)

    def of_kind(self, has_hr: bool) -> set[str]:
        """lr_ids of the images with an HR, or of those without."""
        with_hr = self.images.with_hr
        return with_hr if has_hr else self.images.photos.keys() - with_hr
