"""Measurements of a model on the frozen benchmark set, as the gate takes them."""

import copy
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from components.artifacts.shards import decode_png
from components.backbones.loading import saved_files
from components.backbones.residual_flow import ResidualFlow
from components.backbones.samplers.residual_euler import Control
from components.cost import Cost, costs
from components.errors import BadInput
from components.gate import benchmark
from components.gate.benchmark import FrozenSet
from components.gate.clean import OnClean, bicubic_restorer, clean_set
from components.gate.gate import REWARD, Evidence
from components.judge.guards import diversity, measure_guards
from components.judge.images import EvaluationSet
from components.judge.measure import Judge, Measurement
from components.judge.restorers import Restorer, Sampling, model_restorer, saved_restorer
from components.judge.rewards import fit_normaliser, rewards
from components.rewards.alignment import rewarded_metrics
from components.rewards.normaliser import FixedNormaliser
from components.settings import Settings
from components.upscale.upscaler import Upscaler


class Bench:
    """A context in which any number of models are measured on frozen sets; its end ends its workers.

    Raises:
        BadInput: a metric's weights are missing.
    """

    def __init__(self, settings: Settings, root: Path, device: torch.device) -> None:
        self.settings, self.root = settings, root
        files = saved_files(settings, root)  # those of registered models are of their size
        self._judge = Judge(settings, root, benchmark.measured_metrics(settings), device, files)

    def __enter__(self) -> Self:
        self._judge.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._judge.__exit__(kind, error, trace)

    def freeze(self, base: Upscaler) -> FrozenSet:
        """A new set of the test split, whose normaliser is fitted on `base`."""

        def fit(images: EvaluationSet) -> FixedNormaliser:
            (found,) = self._judge.measure([self._restorer("base", base, self.settings.gate.seeds)], images)
            fr, nr, with_hr = self.settings.score.fr, self.settings.score.nr, images.with_hr
            return fit_normaliser(found.measurements, lambda lr_id: rewarded_metrics(fr, nr, lr_id in with_hr))

        return benchmark.freeze(self.settings, self.root, self._judge.digests, fit)

    def evidence(self, frozen: FrozenSet, model: Upscaler, cost: Cost) -> Evidence:
        """Everything the gate asks about `model`.

        Where the set or a metric is not as frozen, nothing is measured: the gate refuses such evidence, and a figure
        would invite use.
        """
        metrics = self._judge.digests
        if not self._is_as_frozen(frozen):
            return Evidence(frozen.found, metrics, {}, {}, cost.seconds, cost.memory_mb)
        restorer = self._restorer("model", model, frozen.seeds)
        (measured,) = self._judge.measure([restorer], frozen.images)
        rows = {(row.lr_id, row.index): dict(row.values) for row in measured.measurements}
        for row, reward in zip(measured.measurements, self._rewards(frozen, measured.measurements), strict=True):
            if reward is not None:
                rows[row.lr_id, row.index][REWARD] = reward
        spread = {}
        for image in frozen.images:
            pictures = [decode_png(content) for content in self._judge.restored(restorer, image)]
            for index, picture in enumerate(pictures):
                rows[image.lr_id, index] |= measure_guards(picture, image.lr)
            spread[image.lr_id] = diversity(pictures)
        return Evidence(frozen.found, metrics, rows, spread, cost.seconds, cost.memory_mb)

    def control(self, frozen: FrozenSet, model: Upscaler, name: Control, factor: float) -> dict[tuple[str, int], float]:
        """Rewards of `model` with its gain or steps times `factor`, by restoration.

        Raises:
            BadInput: the model is none of this project's own, which have a gain.
        """
        if not isinstance(model.backbone, ResidualFlow):
            raise BadInput(f"gate.controls: {name} is of this project's own models; set gate.controls to {{}}")
        if not self._is_as_frozen(frozen):
            return {}
        restorer = self._restorer(name, _changed(model, model.backbone, name, factor), frozen.seeds)
        (found,) = self._judge.measure([restorer], frozen.images, (*frozen.fr, *frozen.nr))
        rows = found.measurements
        rewarded = zip(rows, self._rewards(frozen, rows), strict=True)
        return {(row.lr_id, row.index): reward for row, reward in rewarded if reward is not None}

    def clean(self, frozen: FrozenSet, champion: Upscaler, challenger: Upscaler) -> OnClean | None:
        """The metrics of `gate.clean` of both and of bicubic enlargement on the set's HR images, only reduced.

        One restoration an image: what is clean leaves little to differ in. None where nothing can be measured.
        """
        images = clean_set(frozen.images, self.settings.run.cache_folder(self.root).path)
        if images is None or not self._is_as_frozen(frozen):
            return None
        restorers = [bicubic_restorer(images.scale), self._restorer("champion", champion, 1)]
        restorers.append(self._restorer("challenger", challenger, 1))
        found = self._judge.measure(restorers, images, list(self.settings.gate.clean))
        bicubic, before, after = ([row.values for row in one.measurements] for one in found)
        return OnClean([row["source"] for row in images.rows], bicubic, before, after)

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

    def _is_as_frozen(self, frozen: FrozenSet) -> bool:
        return frozen.found == frozen.pinned and frozen.metrics == self._judge.digests

    def _restorer(self, name: str, model: Upscaler, seeds: int) -> Restorer:
        sampling = Sampling(seeds, self.settings.generate.batch, model.colour_fix)
        if model.saved is None:
            return model_restorer(name, model.backbone, "policy", sampling)
        self._judge.models.keep(model.saved, model.backbone)
        return saved_restorer(name, model.saved, "policy", sampling, self._judge.models)


def _changed(model: Upscaler, backbone: ResidualFlow, control: Control, factor: float) -> Upscaler:
    """The same upscaler with its gain or its steps times `factor`."""
    changed = copy.copy(backbone)
    changed.sampler = backbone.sampler.with_control(control, backbone.sampler.times(control, factor))
    saved = model.saved
    if saved is not None:
        update = {"gain": changed.sampler.gain, "steps": changed.sampler.steps}
        saved = replace(saved, backbone=saved.backbone.model_copy(update=update))
    return Upscaler(changed, model.colour_fix, model.tiling, model.prompt_of, saved)
