"""A squared distance instead of a sigmoid, so that z does not run away (IPO, Azar et al., arXiv 2310.12036). Pure.

How it carries over to denoising errors is others' account; the target is a setting.
"""

from torch import Tensor

from components.settings import IPOObjective
from components.train.pairs import PairLosses, Pairs, reward_margin


def ipo(policy: Tensor, reference: Tensor, pairs: Pairs, settings: IPOObjective) -> PairLosses:
    """(z - c)^2, weighted."""
    z = reward_margin(policy, reference, pairs, settings.beta)
    return PairLosses(pairs.weight * (z - settings.target) ** 2, z.detach())
