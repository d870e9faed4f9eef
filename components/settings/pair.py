"""Block `pair`: from a group's scores to its pairs."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from components.settings.block import Block, Fraction, Positive
from components.settings.builders import BUILDER_KINDS, AnyBuilder, BuilderSettings
from components.settings.filters import AnyFilter
from components.settings.part import fold
from components.settings.scalarisers import AnyScalariser, MinMaxScalariser, SidesSettings

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
        dial: shares of realism in the reward, each of which gets pairs of its own, and the policy a dial that is told
            them; none = one reward, and no dial.
    """

    builder: AnyBuilder
    filters: tuple[AnyFilter, ...] = ()
    scalariser: AnyScalariser = MinMaxScalariser()
    intra_weights: bool
    inter_weights: bool
    weight_power: Positive = 1.0
    candidates: Annotated[int, Field(ge=0, le=64)] = 0
    dial: tuple[Fraction, ...] = Field(default=(), exclude_if=lambda dial: not dial)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, values: Any) -> Any:
        return fold(values, "builder", SHORT_PAIR, BUILDER_KINDS, BuilderSettings)

    @model_validator(mode="after")
    def _dial_can_be_turned(self) -> "PairSettings":
        if not self.dial:
            return self
        if len(set(self.dial)) < max(2, len(self.dial)):
            raise ValueError(f"dial {list(self.dial)} needs two places at least, each once, for example [0, 0.5, 1]")
        if self.scalariser.loaded and not isinstance(self.scalariser, SidesSettings):
            raise ValueError(
                f"dial turns from fidelity to realism, and scalariser {self.scalariser.kind} does not weigh the two: "
                "take min_max, win_rate or pooled, or set dial to []"
            )
        return self

    def at(self, place: float) -> "PairSettings":
        """The same for one place of the dial: its reward has `place` of realism and the rest of fidelity."""
        told = self.scalariser.model_copy(update={"fidelity": 1.0 - place, "realism": place})
        return self.model_copy(update={"scalariser": told})

    @property
    def gives(self) -> set[str]:
        """Columns of data/pairs.parquet that builder and filters fill beside winner, loser, weight and gap."""
        return {*self.builder.gives, *(column for one in self.filters for column in one.fills)}
