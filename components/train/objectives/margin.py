"""Pairs that have to be a margin apart (Secrets of RLHF II, arXiv 2401.06080; APLOT, arXiv 2510.10963). Pure.

The margin stands inside the sigmoid; where the former prints it outside it would have no gradient.
"""

import torch.nn.functional as F
from torch import Tensor

from components.settings import MarginObjective
from components.train.pairs import PairLosses, Pairs, reward_margin


def margin(policy: Tensor, reference: Tensor, pairs: Pairs, settings: MarginObjective) -> PairLosses:
    """-log sigmoid(z - m), weighted, with each pair's own m."""
    z = reward_margin(policy, reference, pairs, settings.beta)
    return PairLosses(pairs.weight * -F.logsigmoid(z - pairs.known("margin")), z.detach())
