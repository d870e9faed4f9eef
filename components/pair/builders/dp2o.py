"""The paper's pairs: all of the N best with all of the N worst (docs/method.md, section 3). Pure."""

from components.pair.pairs import Pair, rank
from components.rewards.alignment import Values
from components.rewards.group import GroupScores
from components.settings import DP2OBuilder


def dp2o(scores: GroupScores, rewards: Values, settings: DP2OBuilder) -> list[Pair]:
    """All top-N x bottom-N pairs, best winner with worst loser first; pairs of equal reward are dropped."""
    return top_by_bottom(scores.indexes, rewards, settings.top)


def top_by_bottom(indexes: tuple[int, ...], rewards: Values, top: int) -> list[Pair]:
    """The same of candidate indexes `[M]` and rewards `[M]`; `top` is at most M / 2."""
    order = rank(indexes, rewards)
    winners, losers = order[:top], order[::-1][:top]
    return [
        Pair(indexes[winner], indexes[loser], float(rewards[winner] - rewards[loser]))
        for winner in winners
        for loser in losers
        if rewards[winner] > rewards[loser]
    ]
