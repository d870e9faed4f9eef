"""Pairs of which people chose the winner. Pure."""

from components.pair.pairs import Pair
from components.rewards.alignment import Values
from components.rewards.group import GroupScores
from components.settings import VotesBuilder


def votes(scores: GroupScores, rewards: Values, settings: VotesBuilder) -> list[Pair]:
    """A pair for every two candidates on which a majority agrees; a draw gives none.

    Label noise is the share of the votes that went to the loser, with `prior` votes more on each side. The gap is the
    rewards', and is negative where people and metrics disagree.
    """
    places = {index: place for place, index in enumerate(scores.indexes)}
    pairs = []
    for one in scores.votes:
        against = min(one.first_votes, one.votes - one.first_votes)
        if one.votes < settings.min_votes or 2.0 * against == one.votes or not {one.first, one.second} <= places.keys():
            continue
        first_wins = 2.0 * one.first_votes > one.votes
        winner, loser = (one.first, one.second) if first_wins else (one.second, one.first)
        pairs.append(
            Pair(
                winner,
                loser,
                gap=float(rewards[places[winner]] - rewards[places[loser]]),
                label_noise=(against + settings.prior) / (one.votes + 2.0 * settings.prior),
            )
        )
    return pairs
