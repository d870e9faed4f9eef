"""A reward from win rates: how often a candidate would beat the others of its group, by each metric. Pure.

Unlike min-max it does not stretch every group to [0, 1]: where candidates are alike all rates are near 1/2, so that
gaps and spreads of groups can be compared.
"""

from components.rewards.alignment import Values
from components.rewards.group import GroupScores, win_rates
from components.rewards.sides import combine
from components.settings import SidesSettings


def win_rate_rewards(scores: GroupScores, settings: SidesSettings) -> Values:
    """R in (0, 1), `[M]`, with mean 1/2 in every group."""
    rates = win_rates(scores.values, scores.deviations)
    return combine(scores.by_metric(rates), settings.fidelity, settings.realism)
