"""Settings of the pair builders; the builders are components/pair/builders/."""

from typing import Annotated, ClassVar, Literal

from pydantic import PlainValidator, SerializeAsAny

from components.settings.block import Count
from components.settings.part import Part, choose, kinds_of


class BuilderSettings(Part):
    """What all have.

    Attributes:
        gives: columns of data/pairs.parquet that it fills beside winner, loser and gap.
        losers: whether its pairs have losers.
    """

    gives: ClassVar[tuple[str, ...]] = ()
    losers: ClassVar[bool] = True

    @property
    def least(self) -> int:
        """Candidates without which a group gives no pair."""
        return 2

    def check(self, candidates: int) -> None:
        """Refuse what groups of so many candidates can never give.

        Raises:
            ValueError: with the way out.
        """

    def counts(self, candidates: int) -> tuple[int, int]:
        """Most candidates of a group that are in a pair, and most pairs, for the plan."""
        half = candidates // 2
        return candidates, half * (candidates - half)


class TopSettings(BuilderSettings):
    """What takes the N best and the N worst.

    Attributes:
        top: N.
    """

    top: Count

    @property
    def least(self) -> int:
        return 2 * self.top

    def check(self, candidates: int) -> None:
        if 2 * self.top > candidates:
            raise ValueError(
                f"pair.top {self.top} winners and as many losers do not fit into {candidates} candidates: "
                f"set pair.top to at most {candidates // 2} or raise generate.candidates"
            )

    def counts(self, candidates: int) -> tuple[int, int]:
        return 2 * self.top, self.top**2


class DP2OBuilder(TopSettings):
    """All top-N x bottom-N pairs."""

    kind: Literal["dp2o"] = "dp2o"


class BestVsWorstBuilder(BuilderSettings):
    """The one pair of the best and the worst candidate."""

    kind: Literal["best_vs_worst"] = "best_vs_worst"

    def counts(self, candidates: int) -> tuple[int, int]:
        return 2, 1


class RandomBuilder(TopSettings):
    """Control: pairs drawn without regard to the reward.

    Attributes:
        seed: of the draw.
    """

    kind: Literal["random"] = "random"
    seed: int


class WinnersOnlyBuilder(TopSettings):
    """Control: the N best candidates without losers."""

    kind: Literal["winners_only"] = "winners_only"
    losers: ClassVar[bool] = False

    def counts(self, candidates: int) -> tuple[int, int]:
        return self.top, self.top


BUILDER_KINDS: dict[str, type[BuilderSettings]] = kinds_of(
    DP2OBuilder, BestVsWorstBuilder, RandomBuilder, WinnersOnlyBuilder
)
AnyBuilder = Annotated[
    SerializeAsAny[BuilderSettings], PlainValidator(choose("pair builder", BUILDER_KINDS, BuilderSettings))
]
