"""Settings of the objectives; the objectives are components/train/objectives/."""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PlainValidator, SerializeAsAny

from components.settings.block import Positive
from components.settings.part import Part, choose, kinds_of


class ObjectiveSettings(Part):
    """What all have.

    Attributes:
        losers: whether it compares a winner with a loser.
        vanishes: whether it has hardly a gradient where z is far below 0; the log then counts such pairs.
    """

    losers: ClassVar[bool] = True
    vanishes: ClassVar[bool] = False

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns of data/pairs.parquet that it cannot do without: margin, label_noise, target."""
        return ()

    @property
    def loss_at_zero(self) -> float | None:
        """Loss of a pair of weight 1 where policy and reference agree (z = 0); None where that differs by pair."""
        return None


class PreferenceSettings(ObjectiveSettings):
    """What is a function of z = -(beta/2) [(e_theta^w - e_theta^l) - (e_ref^w - e_ref^l)].

    Attributes:
        beta: of z, with errors averaged over C, H, W.
    """

    beta: Positive


class DP2OObjective(PreferenceSettings):
    """Weighted -log sigmoid(z)."""

    kind: Literal["dp2o"] = "dp2o"

    @property
    def loss_at_zero(self) -> float:
        return math.log(2.0)


class NoisyObjective(PreferenceSettings):
    """What knows that labels may be wrong.

    Attributes:
        label_noise: chance that winner and loser are the wrong way round, the same for all pairs; null takes each
            pair's own from data/pairs.parquet.
    """

    label_noise: Annotated[float, Field(gt=0.0, lt=0.5)] | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        return ("label_noise",) if self.label_noise is None else ()


class SoftObjective(NoisyObjective):
    """The expected -log sigmoid(z) over right and wrong labels."""

    kind: Literal["soft"] = "soft"

    @property
    def loss_at_zero(self) -> float:
        return math.log(2.0)


class MarginObjective(PreferenceSettings):
    """-log sigmoid(z - m): a pair has to be m apart."""

    kind: Literal["margin"] = "margin"

    @property
    def needs(self) -> tuple[str, ...]:
        return ("margin",)


class IPOObjective(PreferenceSettings):
    """(z - target)^2, the same target for all pairs.

    Attributes:
        target: of z.
    """

    kind: Literal["ipo"] = "ipo"
    target: Positive = 1.0

    @property
    def loss_at_zero(self) -> float:
        return self.target**2


class CaPOObjective(PreferenceSettings):
    """(z - scale * Delta)^2 with Delta each pair's calibrated reward difference.

    Attributes:
        scale: of Delta; the paper's 1/beta.
    """

    kind: Literal["capo"] = "capo"
    scale: Positive = 1.0

    @property
    def needs(self) -> tuple[str, ...]:
        return ("target",)


class DMPOObjective(NoisyObjective):
    """Reverse KL divergence of the policy's preference from the label's."""

    kind: Literal["dmpo"] = "dmpo"
    vanishes: ClassVar[bool] = True
    label_noise: Annotated[float, Field(gt=0.0, lt=0.5)] | None = 0.01

    @property
    def loss_at_zero(self) -> float | None:
        if self.label_noise is None:
            return None
        return -0.5 * math.log(4.0 * self.label_noise * (1.0 - self.label_noise))


class WinnersOnlyObjective(ObjectiveSettings):
    """Control: the winners' own error."""

    kind: Literal["winners_only"] = "winners_only"
    losers: ClassVar[bool] = False


OBJECTIVE_KINDS: dict[str, type[ObjectiveSettings]] = kinds_of(
    DP2OObjective,
    SoftObjective,
    MarginObjective,
    IPOObjective,
    CaPOObjective,
    DMPOObjective,
    WinnersOnlyObjective,
)
AnyObjective = Annotated[
    SerializeAsAny[ObjectiveSettings], PlainValidator(choose("objective", OBJECTIVE_KINDS, ObjectiveSettings))
]
