"""What the base model gives without any training: its residual exaggerated, or more sampler steps.

Both move the same metrics as an alignment does. Each is set to the value that the validation images reward most, and an
alignment that does not beat them has shown no preference.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from components.backbones.loading import SavedModel
from components.backbones.residual_flow import saved_shift
from components.backbones.samplers.residual_euler import Control, ResidualEuler
from components.errors import BadInput
from components.judge.images import EvaluationSet
from components.judge.measure import Judge
from components.judge.restorers import Sampling, saved_restorer
from components.judge.rewards import fit_normaliser, rewards
from components.rewards.alignment import rewarded_metrics
from components.settings import PixelFlowSettings, Settings

GAINS = (0.5, 0.75, 1.25, 1.5)
"""Factors of backbone.gain, beside 1."""
STEP_FACTORS = (0.5, 2.0)
"""Of backbone.steps, beside 1."""


@dataclass(frozen=True)
class Tuned:
    """A control at its best value.

    Attributes:
        value: gain or number of steps; that of the settings where nothing else is rewarded more.
        rewards: mean validation reward by value tried.
    """

    value: float
    rewards: dict[str, float]


def with_control(saved: SavedModel, control: Control, value: float) -> SavedModel:
    """The same model with another gain or number of steps."""
    changed = saved.backbone.model_copy(update={control: int(value) if control == "steps" else value})
    return replace(saved, backbone=changed)


def values_tried(sampler: ResidualEuler, control: Control) -> list[float]:
    """The sampler's own value first."""
    own = sampler.times(control, 1.0)
    if control == "gain":
        return [own, *(sampler.times(control, factor) for factor in GAINS)]
    return [own, *sorted({sampler.times(control, factor) for factor in STEP_FACTORS} - {own})]


def tune(settings: Settings, root: Path, control: Control, base: SavedModel, judge: Judge) -> Tuned:
    """The control's best value by the mean reward of one restoration of each of some validation images.

    Raises:
        BadInput: the backbone is none of this project's own.
    """
    if not isinstance(base.backbone, PixelFlowSettings):
        raise BadInput(f"evaluate.controls: {control} is of this project's own models; set evaluate.controls to []")
    images = EvaluationSet(root, "validation").of_one_kind().first(settings.evaluate.control_images)
    sampling = Sampling(1, settings.generate.batch, settings.backbone.colour_fix)

    def rewarded(lr_id: str) -> list[str]:
        return rewarded_metrics(settings.score.fr, settings.score.nr, lr_id in images.with_hr)

    own = ResidualEuler(saved_shift(base.backbone.path), base.backbone.steps, base.backbone.gain)
    values = values_tried(own, control)
    restorers = [
        saved_restorer(f"{control} {value:g}", with_control(base, control, value), "reference", sampling, judge.models)
        for value in values
    ]
    metrics = list(dict.fromkeys(name for lr_id in images.photos for name in rewarded(lr_id)))
    found = judge.measure(restorers, images, metrics)
    normaliser = fit_normaliser(found[0].measurements, rewarded)
    by_value = {}
    for value, measured in zip(values, found, strict=True):
        known = [reward for reward in rewards(measured.measurements, rewarded, normaliser) if reward is not None]
        by_value[value] = float(np.mean(known))
    best = max(by_value, key=lambda value: by_value[value])
    return Tuned(best, {f"{value:g}": reward for value, reward in by_value.items()})
