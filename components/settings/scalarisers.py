"""Settings of the scalarisers, one reward from a candidate's scores; they are components/rewards/scalarisers/."""

from typing import Annotated, Literal, Self

from pydantic import Field, PlainValidator, SerializeAsAny, model_validator

from components.settings.block import Positive
from components.settings.part import Part, choose, kinds_of

Weight = Annotated[float, Field(ge=0.0)]


class ScalariserSettings(Part):
    """What all have: nothing but their kind."""


class SidesSettings(ScalariserSettings):
    """What weighs the two sides of the reward.

    Attributes:
        fidelity: weight of the mean over FR metrics; of `lr_consistency` where there is no HR.
        realism: weight of the mean over NR metrics.
    """

    fidelity: Weight = 0.5
    realism: Weight = 0.5

    @model_validator(mode="after")
    def _weights_not_all_zero(self) -> Self:
        if self.fidelity == self.realism == 0.0:
            raise ValueError("fidelity and realism are both 0: give at least one of them weight")
        return self


class MinMaxScalariser(SidesSettings):
    """Each metric stretched to [0, 1] within the group, then the weighted mean of the sides; the paper's reward."""

    kind: Literal["min_max"] = "min_max"


class WinRateScalariser(SidesSettings):
    """Each metric as the chance to beat the group's other candidates, then the weighted mean of the sides."""

    kind: Literal["win_rate"] = "win_rate"


class PooledScalariser(SidesSettings):
    """Each metric in units of its deviation within groups, pooled over all groups, then the mean of the sides.

    Attributes:
        width: such deviations that a reward of 0 to 1 spans, about the group's mean.
    """

    kind: Literal["pooled"] = "pooled"
    width: Positive = 6.0


SCALARISER_KINDS: dict[str, type[ScalariserSettings]] = kinds_of(MinMaxScalariser, WinRateScalariser, PooledScalariser)
AnyScalariser = Annotated[
    SerializeAsAny[ScalariserSettings], PlainValidator(choose("scalariser", SCALARISER_KINDS, ScalariserSettings))
]
