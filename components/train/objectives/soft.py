"""Labels that may be wrong (Secrets of RLHF II, arXiv 2401.06080). Pure."""

import torch
import torch.nn.functional as F
from torch import Tensor

from components.settings import NoisyObjective
from components.train.pairs import PairLosses, Pairs, reward_margin


def label_noise(pairs: Pairs, settings: NoisyObjective, least: float = 0.0, most: float = 0.5) -> Tensor:
    """alpha of each pair, `[P]`: that of the settings, or the pair's own within [least, most]."""
    if settings.label_noise is not None:
        return torch.full_like(pairs.weight, settings.label_noise)
    return pairs.known("label_noise").clamp(least, most)


def soft(policy: Tensor, reference: Tensor, pairs: Pairs, settings: NoisyObjective) -> PairLosses:
    """-(1 - alpha) log sigmoid(z) - alpha log sigmoid(-z), weighted; least where sigmoid(z) = 1 - alpha."""
    z = reward_margin(policy, reference, pairs, settings.beta)
    alpha = label_noise(pairs, settings)
    losses = -(1.0 - alpha) * F.logsigmoid(z) - alpha * F.logsigmoid(-z)
    return PairLosses(pairs.weight * losses, z.detach())
