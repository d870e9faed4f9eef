"""The paper's objective. Pure."""

import torch.nn.functional as F
from torch import Tensor

from components.settings import DP2OObjective
from components.train.pairs import PairLosses, Pairs, reward_margin


def dp2o(policy: Tensor, reference: Tensor, pairs: Pairs, settings: DP2OObjective) -> PairLosses:
    """-log sigmoid(z), weighted; with weights of 1 it is Diffusion-DPO (Wallace et al., arXiv 2311.12908, eq. 14)."""
    z = reward_margin(policy, reference, pairs, settings.beta)
    return PairLosses(pairs.weight * -F.logsigmoid(z), z.detach())
