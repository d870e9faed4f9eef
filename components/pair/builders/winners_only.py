"""Control: winners without losers, for plain fine-tuning on them. Pure."""

from components.pair.pairs import NO_LOSER, Pair, rank
from components.rewards.alignment import Values
from components.rewards.group import GroupScores
from components.settings import WinnersOnlyBuilder


def winners_only(scores: GroupScores, rewards: Values, settings: WinnersOnlyBuilder) -> list[Pair]:
    """The top-N candidates, best first."""
    best = rank(scores.indexes, rewards)[: settings.top]
    return [Pair(scores.indexes[winner], NO_LOSER, 0.0) for winner in best]
