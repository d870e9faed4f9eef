"""One pair a group, as Diffusion-DPO has it. Pure."""

from components.pair.builders.dp2o import top_by_bottom
from components.pair.pairs import Pair
from components.rewards.alignment import Values
from components.rewards.group import GroupScores
from components.settings import BestVsWorstBuilder


def best_vs_worst(scores: GroupScores, rewards: Values, settings: BestVsWorstBuilder) -> list[Pair]:
    """The one pair of the best and the worst candidate; none if all rewards are equal."""
    return top_by_bottom(scores.indexes, rewards, 1)
