"""Block `pair`: from a group's scores to its pairs."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from components.settings.block import Block, Positive
from components.settings.builders import BUILDER_KINDS, AnyBuilder, BuilderSettings
from components.settings.filters import AnyFilter
from components.settings.part import fold
from components.settings.scalarisers import AnyScalariser, MinMaxScalariser

SHORT_PAIR = ("top", "seed")
"""Keys of the block that are short for settings of its builder."""


class PairSettings(Block):
    """Builder, filters, scalariser and weights.

    Attributes:
        builder: makes the pairs; `builder: dp2o` beside `top: 2` is short for `builder: {kind: dp2o, top: 2}`.
        filters: go over its pairs, one after the other.
        scalariser: makes the one reward that ranks, gaps and weights come from.
        intra_weights, inter_weights: whether pairs are weighted by their gap, groups by their spread.
        weight_power: pairs' weights are raised to it and scaled to a mean of 1; 1 leaves them as they are.
        candidates: how many of each group's first candidates are used; 0 = all.
    """

    builder: AnyBuilder
    filters: tuple[AnyFilter, ...] = ()
    scalariser: AnyScalariser = MinMaxScalariser()
    intra_weights: bool
    inter_weights: bool
    weight_power: Positive = 1.0
    candidates: Annotated[int, Field(ge=0, le=64)] = 0

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, values: Any) -> Any:
        return fold(values, "builder", SHORT_PAIR, BUILDER_KINDS, BuilderSettings)

    @property
    def gives(self) -> set[str]:
        """Columns of data/pairs.parquet that builder and filters fill beside winner, loser, weight and gap."""
        return {*self.builder.gives, *(column for one in self.filters for column in one.fills)}
