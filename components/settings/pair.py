"""Block `pair`: from a group's rewards to its pairs."""

from typing import Annotated, Literal

from pydantic import Field

from components.settings.block import Block, Count


class PairSettings(Block):
    builder: Literal["dp2o", "best_vs_worst", "random", "winners_only"]
    top: Count
    intra_weights: bool
    inter_weights: bool
    candidates: Annotated[int, Field(ge=0, le=64)] = 0
    seed: int
