"""Preference pairs of one group, and their order. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from components.rewards.alignment import Values

NO_LOSER = -1


@dataclass(frozen=True)
class Pair:
    """Winner and loser by their candidate indexes, and what their builder knows of them; None is unknown.

    Attributes:
        winner, loser: candidate indexes; `NO_LOSER` where the winner stands alone.
        gap: the winner's reward less the loser's.
        margin: what z has to exceed, at least 0.
        label_noise: chance that winner and loser are the wrong way round, 0 to 1/2.
        target: difference of calibrated rewards that z is fitted to.
        weight: factor of the pair's weight, beside those of its gap and its group's spread.
        stand_in: whether the builder's own rule gave the group no pair, and this one takes their place.
    """

    winner: int
    loser: int
    gap: float
    margin: float | None = None
    label_noise: float | None = None
    target: float | None = None
    weight: float = 1.0
    stand_in: bool = False

    def turned(self) -> "Pair":
        """The same with winner and loser exchanged; differences of the two change their sign."""
        target = None if self.target is None else -self.target
        return replace(self, winner=self.loser, loser=self.winner, gap=-self.gap, target=target)


def rank(indexes: Sequence[int], rewards: Values) -> list[int]:
    """Positions in the order of falling reward; ties by candidate index, so that the order is always the same."""
    return sorted(range(len(indexes)), key=lambda position: (-rewards[position], indexes[position]))
