"""Reverse KL divergence between the policy's preference and the label's (DMPO, arXiv 2507.07510). Pure.

Its gradient vanishes where a pair is badly misranked (z far below 0): that is a property of it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from components.settings import DMPOObjective
from components.train.objectives.soft import label_noise
from components.train.pairs import PairLosses, Pairs, reward_margin

LEAST, MOST = 0.01, 0.49
"""Of a pair's own label noise: at 0 the divergence is infinite, at 1/2 there is no preference."""


def dmpo(policy: Tensor, reference: Tensor, pairs: Pairs, settings: DMPOObjective) -> PairLosses:
    """p log(p/q) + (1 - p) log((1 - p)/(1 - q)), weighted, with p = sigmoid(z) and q = 1 - alpha."""
    z = reward_margin(policy, reference, pairs, settings.beta)
    alpha = label_noise(pairs, settings, LEAST, MOST)
    p = torch.sigmoid(z)
    losses = p * (F.logsigmoid(z) - torch.log1p(-alpha)) + (1.0 - p) * (F.logsigmoid(-z) - torch.log(alpha))
    return PairLosses(pairs.weight * losses, z.detach())
