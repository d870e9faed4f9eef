"""What the base model gives without any training: its residual exaggerated, or more sampler steps.

Both move the same metrics as an alignment does. Each is set to the value that the validation images reward most, and an
alignment that does not beat them has shown no preference.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from components.backbones.base import Backbone
from components.backbones.loading import load_backbone
from components.backbones.residual_flow import ResidualFlow, max_steps
from components.errors import BadInput
from components.judge.cache import EvaluationCache
from components.judge.images import EvaluationSet
from components.judge.measure import Measured, measure
from components.judge.restorers import model_restorer
from components.judge.rewards import fit_normaliser, rewards
from components.metrics.suite import Suite
from components.rewards.alignment import rewarded_metrics
from components.settings import Settings

GAINS = (0.5, 0.75, 1.25, 1.5)
"""Factors of backbone.gain, beside 1."""
STEP_FACTORS = (0.5, 2.0)
"""Of backbone.steps, beside 1."""

Control = Literal["gain", "steps"]


@dataclass(frozen=True)
class Tuned:
    """A control at its best value.

    Attributes:
        value: gain or number of steps; that of the settings where nothing else is rewarded more.
        rewards: mean validation reward by value tried.
    """

    value: float
    rewards: dict[str, float]


def with_control(settings: Settings, control: Control, value: float) -> Settings:
    """The same settings with another gain or number of steps."""
    changed = settings.backbone.model_copy(update={control: int(value) if control == "steps" else value})
    return settings.model_copy(update={"backbone": changed})


def values_tried(settings: Settings, control: Control, shift: float) -> list[float]:
    """The settings' own value first."""
    if control == "gain":
        own = float(getattr(settings.backbone, "gain", 1.0))
        return [own, *(own * gain for gain in GAINS)]
    steps = settings.backbone.steps
    others = {max(1, min(round(steps * factor), max_steps(shift))) for factor in STEP_FACTORS}
    return [float(steps), *(float(other) for other in sorted(others - {steps}))]


def tune(settings: Settings, root: Path, control: Control, device: torch.device) -> Tuned:
    """The control's best value by the mean reward of one restoration of each of some validation images.

    Raises:
        BadInput: the backbone is none of this project's own.
    """
    images = EvaluationSet(root, "validation").first(settings.evaluate.control_images)
    suite = Suite.load([*settings.score.fr, *settings.score.nr], device)
    cache = EvaluationCache(settings.run.cache_folder(root))

    def measured(backbone: Backbone, name: str) -> Measured:
        restorer = model_restorer(
            name,
            backbone,
            "reference",
            seeds=1,
            batch=settings.generate.batch,
            colour_fix=settings.backbone.colour_fix,
        )
        return measure(restorer, images, suite, cache, settings.score.batch)

    def rewarded(lr_id: str) -> list[str]:
        return rewarded_metrics(settings.score.fr, settings.score.nr, lr_id in images.with_hr)

    base = load_backbone(settings, root, device)
    if not isinstance(base, ResidualFlow):
        raise BadInput(f"evaluate.controls: {control} is of this project's own models; set evaluate.controls to []")
    by_value = {}
    normaliser = None
    for value in values_tried(settings, control, base.config.shift):
        backbone = load_backbone(with_control(settings, control, value), root, device)
        found = measured(backbone, f"{control} {value:g}")
        normaliser = normaliser or fit_normaliser(found.measurements, rewarded)
        known = [reward for reward in rewards(found.measurements, rewarded, normaliser) if reward is not None]
        by_value[value] = float(np.mean(known))
    best = max(by_value, key=lambda value: by_value[value])
    return Tuned(best, {f"{value:g}": reward for value, reward in by_value.items()})
