"""Settings of the pair builders; the builders are components/pair/builders/."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PlainValidator, SerializeAsAny

from components.artifacts import paths
from components.settings.block import Count
from components.settings.part import Part, choose, kinds_of

Side = Literal["fidelity", "realism"]
"""FR metrics, or `lr_consistency` where there is no HR; and NR metrics."""
SIDES: tuple[Side, ...] = ("fidelity", "realism")


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

    @property
    def sides(self) -> tuple[Side, ...]:
        """Sides of the reward whose metrics it cannot do without."""
        return ()

    @property
    def votes_file(self) -> Path | None:
        """People's votes, which the stage reads for it, relative to params.yaml; None where it needs none."""
        return None

    @property
    def judges(self) -> tuple[str, ...]:
        """Kinds of score.judges that it asks."""
        return ()

    def check(self, candidates: int) -> None:
        """Refuse what groups of so many candidates can never give.

        Raises:
            ValueError: with the way out.
        """
        if self.least > candidates:
            raise ValueError(
                f"pair.builder {self.kind} needs {self.least} candidates of a group, and {candidates} are used: raise "
                "pair.candidates, or set it to 0 for all"
            )

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


class ParetoBuilder(BuilderSettings):
    """All pairs of who is beaten in everything by nobody with who beats nobody in everything, by win rates.

    Attributes:
        axes: in what candidates are compared: each of the metrics, or the two sides' means; null takes the sides where
            there are more than three metrics, as most candidates of a group are on the first front of many axes.
    """

    kind: Literal["pareto"] = "pareto"
    gives: ClassVar[tuple[str, ...]] = ("target",)
    axes: Literal["metrics", "sides"] | None = None


class RankThenSiftBuilder(BuilderSettings):
    """Candidates meet in twos before a judge; of those it chose the best by score win over the worst it rejected.

    Attributes:
        top: winners, and losers, that are left after sifting.
        judge: side of the reward that compares, or the kind of one of score.judges.
        scorer: side that sifts.
        seed: of who meets whom.
    """

    kind: Literal["rank_then_sift"] = "rank_then_sift"
    top: Count
    judge: str = "fidelity"
    scorer: Side = "realism"
    seed: int

    @property
    def least(self) -> int:
        return 2 * self.top

    @property
    def sides(self) -> tuple[Side, ...]:
        return tuple(side for side in SIDES if side in (self.judge, self.scorer))

    @property
    def judges(self) -> tuple[str, ...]:
        return () if self.judge in SIDES else (self.judge,)

    def check(self, candidates: int) -> None:
        if 2 * self.top > candidates:
            raise ValueError(
                f"pair.top {self.top} winners come of as many comparisons, and {candidates} candidates make "
                f"{candidates // 2}: set pair.top to at most {candidates // 2} or raise generate.candidates"
            )

    def counts(self, candidates: int) -> tuple[int, int]:
        return 2 * self.top, self.top**2


class VotesBuilder(BuilderSettings):
    """Pairs of which people chose the winner, in studies of candidates.

    Attributes:
        file: votes, as `dp2o study votes` publishes them, relative to params.yaml.
        min_votes: fewer votes on a pair do not count.
        prior: votes that each side has before anybody voted: a pair's label_noise is its loser's share of all. 0.5 is
            Jeffreys' prior; 0 takes the votes as they are, and one rater as infallible.
    """

    kind: Literal["votes"] = "votes"
    gives: ClassVar[tuple[str, ...]] = ("label_noise",)
    file: Path = paths.VOTES
    min_votes: Count = 1
    prior: Annotated[float, Field(ge=0.0, le=100.0)] = 0.5

    @property
    def votes_file(self) -> Path | None:
        return self.file

    def counts(self, candidates: int) -> tuple[int, int]:
        return candidates, candidates * (candidates - 1) // 2


BUILDER_KINDS: dict[str, type[BuilderSettings]] = kinds_of(
    DP2OBuilder,
    BestVsWorstBuilder,
    RandomBuilder,
    WinnersOnlyBuilder,
    ParetoBuilder,
    RankThenSiftBuilder,
    VotesBuilder,
)
AnyBuilder = Annotated[
    SerializeAsAny[BuilderSettings], PlainValidator(choose("pair builder", BUILDER_KINDS, BuilderSettings))
]
