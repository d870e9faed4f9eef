"""Control: plain fine-tuning on winners. Pure."""

import torch
from torch import Tensor

from components.settings import WinnersOnlyObjective
from components.train.pairs import PairLosses, Pairs


def winners_only(policy: Tensor, reference: Tensor, pairs: Pairs, settings: WinnersOnlyObjective) -> PairLosses:
    """The winners' own denoising error, without losers, reference or beta."""
    losses = pairs.weight * policy[pairs.winner]
    return PairLosses(losses, torch.zeros_like(losses).detach())
