"""Settings of the pair filters; the filters are components/pair/filters/."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PlainValidator, SerializeAsAny

from components.settings.block import Positive
from components.settings.part import Part, choose, kinds_of


class FilterSettings(Part):
    """What all have.

    Attributes:
        gives: columns of data/pairs.parquet that it fills.
        losers: whether it compares a winner with a loser.
    """

    gives: ClassVar[tuple[str, ...]] = ()
    losers: ClassVar[bool] = True


NotNegative = Annotated[float, Field(ge=0.0)]


class StrengthFilter(FilterSettings):
    """What the metrics, as voters, say of a pair: their mean difference mu and its spread, in units of tau.

    tau is a metric's standard deviation within groups, over all groups. What is null is not done.

    Attributes:
        flip_below: winner and loser change places where mu is below this; a negative number.
        drop_below: pairs with |mu| below this are left out.
        drop_spread: pairs whose voters' standard deviation is above this are left out.
        soft_below: pairs with |mu| below this get label_noise = 1/2 - 1/2 tanh(|mu|), the others 0; null: all 0.
        margin_scale: margin = this times mu, at least 0.
    """

    kind: Literal["strength"] = "strength"
    gives: ClassVar[tuple[str, ...]] = ("margin", "label_noise")
    flip_below: Annotated[float, Field(lt=0.0)] | None = None
    drop_below: Positive | None = None
    drop_spread: Positive | None = None
    soft_below: Positive | None = None
    margin_scale: NotNegative = 0.0


FILTER_KINDS: dict[str, type[FilterSettings]] = kinds_of(StrengthFilter)
AnyFilter = Annotated[
    SerializeAsAny[FilterSettings], PlainValidator(choose("pair filter", FILTER_KINDS, FilterSettings))
]
