"""Block `evaluate`: the judged seeds, controls and peers."""

from typing import Annotated, Literal

from pydantic import Field

from components.settings.block import Block, Count
from components.settings.mixture import Mixed


class EvaluateSettings(Block):
    """What is judged, and how sure the answer is to be.

    Attributes:
        mixtures: of base and aligned model, judged beside them.
    """

    seeds: Count
    bootstrap: Annotated[int, Field(ge=100)]
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)]
    controls: list[Literal["gain", "steps"]] = []
    control_images: Count = 12
    mixtures: list[Mixed] = Field(default=[], exclude_if=lambda mixtures: not mixtures)
    peers: list[Literal["bicubic", "realesrgan", "realesrgan_fixed", "realesr_animevideo"]]
    seed: int
