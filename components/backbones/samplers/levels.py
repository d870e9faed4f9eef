"""Noise levels of the sampler of this project's own models, known from their config.json without torch."""

import math
from typing import TYPE_CHECKING

from components.backbones.model_config import read_json
from components.errors import BadInput

if TYPE_CHECKING:
    from components.settings import PixelFlowSettings

SIGMA_FLOOR = 0.05
"""Below this the velocity's division by sigma would turn rounding into signal; the last Euler step never goes there."""


def shifted_levels(shift: float, steps: int) -> tuple[float, ...]:
    """Sigmas that the steps start at, falling from 1: sigma = shift u / (1 + (shift - 1) u) for even u.

    Esser et al., arXiv 2403.03206, section 5.3.2.

    Raises:
        BadInput: the last of so many steps would start below SIGMA_FLOOR.
    """
    most = max_steps(shift)
    if not 1 <= steps <= most:
        raise BadInput(
            f"backbone.steps is {steps}: this model takes 1 to {most}, with more the last steps would start "
            f"below sigma = {SIGMA_FLOOR}, where its velocity is not the model's any more"
        )
    even = [1.0 - step / steps for step in range(steps)]
    return tuple(shift * u / (1.0 + (shift - 1.0) * u) for u in even)


def max_steps(shift: float) -> int:
    """Most Euler steps whose last one starts at SIGMA_FLOOR or above: sigma of u = 1/steps solved for steps."""
    return math.floor(shift / SIGMA_FLOOR - (shift - 1.0) + 1e-9)


def saved_levels(settings: "PixelFlowSettings") -> tuple[float, ...]:
    """Levels of the model that located settings name, in as many steps as they say.

    Raises:
        BadInput: there is no such model, or it does not take so many steps.
    """
    shift = read_json(settings.path, settings.path.name).get("shift", 1.0)
    if not isinstance(shift, int | float) or shift <= 0.0:
        raise BadInput(f"backbone folder {settings.path}: shift is {shift!r}, no number above 0; restore its config")
    return shifted_levels(float(shift), settings.steps)
