"""z fitted to the difference of calibrated rewards (CaPO, arXiv 2502.02588, as others tell it). Pure."""

from torch import Tensor

from components.settings import CaPOObjective
from components.train.pairs import PairLosses, Pairs, reward_margin


def capo(policy: Tensor, reference: Tensor, pairs: Pairs, settings: CaPOObjective) -> PairLosses:
    """(z - s Delta)^2, weighted, with each pair's own Delta."""
    z = reward_margin(policy, reference, pairs, settings.beta)
    return PairLosses(pairs.weight * (z - settings.scale * pairs.known("target")) ** 2, z.detach())
