"""Control: pairs that know nothing of the reward. Pure."""

import numpy as np

from components.pair.pairs import Pair
from components.rewards.alignment import Values
from components.rewards.group import GroupScores
from components.settings import RandomBuilder
from components.storage.digests import seed_of


def random_pairs(scores: GroupScores, rewards: Values, settings: RandomBuilder) -> list[Pair]:
    """As many pairs as `dp2o` has, between 2N candidates drawn without regard to reward.

    An alignment that does not beat it has learnt from its own samples, not from preferences.
    """
    generator = np.random.default_rng(seed_of("random pairs", settings.seed, scores.lr_id))
    drawn = generator.permutation(len(scores.indexes))[: 2 * settings.top]
    return [
        Pair(scores.indexes[winner], scores.indexes[loser], float(rewards[winner] - rewards[loser]))
        for winner in drawn[: settings.top]
        for loser in drawn[settings.top :]
    ]
