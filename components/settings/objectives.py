"""Settings of the objectives; the objectives are components/train/objectives/."""

from typing import Annotated, ClassVar, Literal

from pydantic import PlainValidator, SerializeAsAny

from components.settings.block import Positive
from components.settings.part import Part, choose, kinds_of


class ObjectiveSettings(Part):
    """What all have.

    Attributes:
        needs: columns of data/pairs.parquet that it cannot do without: margin, label_noise, target.
        losers: whether it compares a winner with a loser.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    losers: ClassVar[bool] = True


class PreferenceSettings(ObjectiveSettings):
    """What is a function of z = -(beta/2) [(e_theta^w - e_theta^l) - (e_ref^w - e_ref^l)].

    Attributes:
        beta: of z, with errors averaged over C, H, W.
    """

    beta: Positive


class DP2OObjective(PreferenceSettings):
    """Weighted -log sigmoid(z)."""

    kind: Literal["dp2o"] = "dp2o"


class WinnersOnlyObjective(ObjectiveSettings):
    """Control: the winners' own error."""

    kind: Literal["winners_only"] = "winners_only"
    losers: ClassVar[bool] = False


OBJECTIVE_KINDS: dict[str, type[ObjectiveSettings]] = kinds_of(DP2OObjective, WinnersOnlyObjective)
AnyObjective = Annotated[
    SerializeAsAny[ObjectiveSettings], PlainValidator(choose("objective", OBJECTIVE_KINDS, ObjectiveSettings))
]
