"""Settings of the pair filters; the filters are components/pair/filters/."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PlainValidator, SerializeAsAny

from components.settings.block import Count, Fraction, Positive
from components.settings.part import Part, choose, kinds_of


class FilterSettings(Part):
    """What all have.

    Attributes:
        gives: columns of data/pairs.parquet that it can fill.
        asked_by: of these, the setting without which one is not filled.
        losers: whether it compares a winner with a loser.
    """

    gives: ClassVar[tuple[str, ...]] = ()
    asked_by: ClassVar[Mapping[str, str]] = {}
    losers: ClassVar[bool] = True

    @property
    def fills(self) -> tuple[str, ...]:
        """Columns that it fills, as it is set."""
        return tuple(name for name in self.gives if name not in self.asked_by or getattr(self, self.asked_by[name]))

    @property
    def turns(self) -> bool:
        """Whether it may exchange winner and loser."""
        return False


NotNegative = Annotated[float, Field(ge=0.0)]


class StrengthFilter(FilterSettings):
    """What the metrics, as voters, say of a pair: their mean difference mu and its spread, in units of tau.

    tau is a metric's standard deviation within groups, over all groups. What is null is not done.

    Attributes:
        flip_below: winner and loser change places where mu is below this; a negative number.
        drop_below: pairs with |mu| below this are left out.
        drop_spread: pairs whose voters' standard deviation is above this are left out.
        soft_below: pairs with |mu| below this get label_noise = 1/2 - 1/2 tanh(|mu|), the others 0.
        margin_scale: margin = this times mu, at least 0; 0: margins are left alone.
    """

    kind: Literal["strength"] = "strength"
    gives: ClassVar[tuple[str, ...]] = ("margin", "label_noise")
    asked_by: ClassVar[Mapping[str, str]] = {"margin": "margin_scale", "label_noise": "soft_below"}
    flip_below: Annotated[float, Field(lt=0.0)] | None = None
    drop_below: Positive | None = None
    drop_spread: Positive | None = None
    soft_below: Positive | None = None
    margin_scale: NotNegative = 0.0

    @property
    def turns(self) -> bool:
        return self.flip_below is not None


class TransportFilter(FilterSettings):
    """Margins from the optimal transport of a group's winners to its losers: those alike have to be farther apart.

    Attributes:
        scale: gamma, factor of the margins.
        likeness: how much the cosine of two candidates' scores counts in the cost, beside their rewards; 0 to 1.
        regularisation: of the transport's entropy, in units of the cost; the smaller, the closer to one loser a winner.
        iterations: of Sinkhorn's algorithm.
        row_norm: whether a winner's margin is multiplied by the number of winners, so that it is a mean of costs and
            does not shrink as groups grow.
    """

    kind: Literal["transport"] = "transport"
    gives: ClassVar[tuple[str, ...]] = ("margin",)
    scale: Positive = 1.0
    likeness: Fraction = 0.1
    regularisation: Positive = 0.1
    iterations: Count = 50
    row_norm: bool = True


FILTER_KINDS: dict[str, type[FilterSettings]] = kinds_of(StrengthFilter, TransportFilter)
AnyFilter = Annotated[
    SerializeAsAny[FilterSettings], PlainValidator(choose("pair filter", FILTER_KINDS, FilterSettings))
]
