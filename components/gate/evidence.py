"""Measurements of a model on the frozen benchmark set, as the gate takes them."""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch

from components.artifacts.shards import decode_png
from components.backbones.base import Backbone
from components.backbones.residual_flow import ResidualFlow, max_steps
from components.errors import BadInput
from components.gate import benchmark
from components.gate.benchmark import FrozenSet
from components.gate.budget import Cost, costs
from components.gate.gate import REWARD, Evidence
from components.judge.cache import EvaluationCache
from components.judge.guards import diversity, measure_guards
from components.judge.images import EvaluationSet
from components.judge.measure import Measurement, measure, restored
from components.judge.restorers import Restorer, model_restorer
from components.judge.rewards import fit_normaliser, rewards
from components.metrics.suite import Suite
from components.rewards.alignment import rewarded_metrics
from components.rewards.normaliser import FixedNormaliser
from components.settings import Settings
from components.upscale.upscaler import Upscaler


def replace_backbone(model: Upscaler, backbone: Backbone) -> Upscaler:
    """The same upscaler with another backbone."""
    return Upscaler(backbone, model.colour_fix, model.tiling, model.prompt_of)


@dataclass(frozen=True)
class Bench:
    """Judges and cache, loaded once; measures any number of models."""

    settings: Settings
    root: Path
    suite: Suite
    cache: EvaluationCache

    @classmethod
    def load(cls, settings: Settings, root: Path, device: torch.device) -> "Bench":
        """The settings' metrics.

        Raises:
            BadInput: a metric's weights are missing.
        """
        suite = Suite.load(benchmark.measured_metrics(settings), device)
        return cls(
            settings,
            root,
            suite,
            EvaluationCache(settings.run.cache_folder(root)),
        )

    def freeze(self, base: Upscaler) -> FrozenSet:
        """A new set of the test split, whose normaliser is fitted on `base`."""

        def fit(images: EvaluationSet) -> FixedNormaliser:
            restorer = self._restorer("base", base, self.settings.gate.seeds)
            measurements = measure(restorer, images, self.suite, self.cache, self.settings.score.batch).measurements
            fr, nr, with_hr = self.settings.score.fr, self.settings.score.nr, images.with_hr
            return fit_normaliser(measurements, lambda lr_id: rewarded_metrics(fr, nr, lr_id in with_hr))

        return benchmark.freeze(self.settings, self.root, self.suite.digests, fit)

    def evidence(self, frozen: FrozenSet, model: Upscaler, cost: Cost) -> Evidence:
        """Everything the gate asks about `model`.

        Where the set or a metric is not as frozen, nothing is measured: the gate refuses such evidence, and a figure
        would invite use.
        """
        if frozen.found != frozen.pinned or frozen.metrics != self.suite.digests:
            return Evidence(frozen.found, self.suite.digests, {}, {}, cost.seconds, cost.memory_mb)
        restorer = self._restorer("model", model, frozen.seeds)
        measured = measure(restorer, frozen.images, self.suite, self.cache, self.settings.score.batch)
        rows = {(row.lr_id, row.index): dict(row.values) for row in measured.measurements}
        for row, reward in zip(measured.measurements, self._rewards(frozen, measured.measurements), strict=True):
            if reward is not None:
                rows[row.lr_id, row.index][REWARD] = reward
        spread = {}
        for image in frozen.images:
            pictures = [decode_png(content) for content in restored(restorer, image, self.cache)]
            for index, picture in enumerate(pictures):
                rows[image.lr_id, index] |= measure_guards(picture, image.lr)
            spread[image.lr_id] = diversity(pictures)
        return Evidence(frozen.found, self.suite.digests, rows, spread, cost.seconds, cost.memory_mb)

    def control(self, frozen: FrozenSet, model: Upscaler, name: str, factor: float) -> dict[tuple[str, int], float]:
        """Rewards of `model` with its gain or steps times `factor`, by restoration.

        Raises:
            BadInput: the model is none of this project's own, which have a gain.
        """
        backbone = model.backbone
        if not isinstance(backbone, ResidualFlow):
            raise BadInput(f"gate.controls: {name} is of this project's own models; set gate.controls to {{}}")
        if frozen.found != frozen.pinned or frozen.metrics != self.suite.digests:
            return {}
        changed = copy.copy(backbone)
        if name == "gain":
            changed.gain = backbone.gain * factor
        else:
            changed.steps = max(1, min(round(backbone.steps * factor), max_steps(backbone.config.shift)))
        restorer = self._restorer(name, replace_backbone(model, changed), frozen.seeds)
        rewarded = Suite([self.suite.metrics[metric] for metric in (*frozen.fr, *frozen.nr)])
        rows = measure(restorer, frozen.images, rewarded, self.cache, self.settings.score.batch).measurements
        found = zip(rows, self._rewards(frozen, rows), strict=True)
        return {(row.lr_id, row.index): reward for row, reward in found if reward is not None}

    def costs(self, frozen: FrozenSet, models: list[Upscaler]) -> list[Cost]:
        """Cost of one restoration of the set's first image by each of `models`, as it is served."""
        picture = next(iter(frozen.images)).lr
        return costs([lambda model=model: model(picture, 0) for model in models], models[0].backbone.device)  # type: ignore[misc]

    def _rewards(self, frozen: FrozenSet, measurements: list[Measurement]) -> list[float | None]:
        with_hr = frozen.images.with_hr
        return rewards(
            measurements,
            lambda lr_id: rewarded_metrics(frozen.fr, frozen.nr, lr_id in with_hr),
            frozen.normaliser,
        )

    def _restorer(self, name: str, model: Upscaler, seeds: int) -> Restorer:
        batch = self.settings.generate.batch
        return model_restorer(name, model.backbone, "policy", seeds=seeds, batch=batch, colour_fix=model.colour_fix)
