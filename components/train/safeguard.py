"""Losers' gradients scaled so that they do not raise the winners' errors (Diffusion-SDPO, arXiv 2511.03317). Pure.

A pair's loss falls where the winner's error falls or the loser's rises. Winner and loser share t and epsilon and look
alike, so that a step which raises the loser's error can raise the winner's too, and that is what costs fidelity. To
first order, a step along g_w - lambda g_l changes the winner's error by -(|g_w|^2 - lambda <g_w, g_l>), with g the
gradients of the errors by the predictions.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from components.train.pairs import PairLosses, Pairs

Objective = Callable[[Tensor, Tensor, Pairs], PairLosses]


def loser_scales(residuals: Tensor, pairs: Pairs, mu: float) -> Tensor:
    """lambda of each pair, `[P]`, no gradient: clip((1 - mu) |g_w|^2 / <g_w, g_l>, 0, 1) where <g_w, g_l> > 0, else 1.

    Args:
        residuals: prediction - target of a group's candidates `[B, ...]`; g is 2/n times it, and n is the same for all.
        pairs: over its rows.
        mu: how much of the winner's own progress stays, 0 to 1.
    """
    flat = residuals.detach().flatten(1).double()
    gram = flat @ flat.T  # [B, B], which all pairs of the group take theirs from
    own, shared = gram.diagonal()[pairs.winner], gram[pairs.winner, pairs.loser]
    bound = (1.0 - mu) * own / torch.where(shared > 0.0, shared, 1.0)
    return torch.where(shared > 0.0, bound.clamp(0.0, 1.0), 1.0)


def safeguarded(objective: Objective, policy: Tensor, reference: Tensor, pairs: Pairs, scales: Tensor) -> PairLosses:
    """The objective's losses, in whose gradient each loser's error counts `scales` `[P]` times; values are the same.

    Args:
        objective: of errors `[B]` and pairs over them.
        policy, reference: errors `[B]`.
        pairs: over them.
        scales: see `loser_scales`.
    """
    count = len(pairs.winner)
    losers = policy[pairs.loser]
    scaled = losers.detach() + scales.to(losers.dtype) * (losers - losers.detach())
    places = torch.arange(count, device=policy.device)
    return objective(
        torch.cat([policy[pairs.winner], scaled]),
        torch.cat([reference[pairs.winner], reference[pairs.loser]]),
        replace(pairs, winner=places, loser=places + count),
    )
