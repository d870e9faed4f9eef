"""Objectives: plain functions of a group's errors. Pure.

A group shares one t and one epsilon, so 2N policy errors and 2N reference errors give all N^2 pair losses. The errors
are means over C, H, W and z carries the factor -beta/2 (method, section 5); code that drops the half means beta/2 by
its beta.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """Pairs as positions in the error vectors.

    Attributes:
        winner: `[P]` int64.
        loser: `[P]` int64; -1 throughout where winners stand alone.
        weight: `[P]` float32, w_intra * w_inter; no gradient flows through it.
    """

    winner: Tensor
    loser: Tensor
    weight: Tensor


@dataclass(frozen=True)
class PairLosses:
    """What an objective returns.

    Attributes:
        losses: weighted loss of each pair, `[P]`; the step's loss is their mean over all pairs of the step.
        margins: z of each pair, `[P]`, detached; above 0 the policy prefers the winner more than the reference does.
    """

    losses: Tensor
    margins: Tensor


Objective = Callable[[Tensor, Tensor, Pairs, float], PairLosses]


def margin(policy: Tensor, reference: Tensor, pairs: Pairs, beta: float) -> Tensor:
    """z = -(beta/2) [(e_theta^w - e_theta^l) - (e_ref^w - e_ref^l)], `[P]`, from errors `[B]`."""
    policy_gap = policy[pairs.winner] - policy[pairs.loser]
    reference_gap = reference[pairs.winner] - reference[pairs.loser]
    return -0.5 * beta * (policy_gap - reference_gap)


def dp2o(policy: Tensor, reference: Tensor, pairs: Pairs, beta: float) -> PairLosses:
    """-log sigmoid(z), weighted; with weights of 1 it is Diffusion-DPO (Wallace et al., arXiv 2311.12908, eq. 14)."""
    z = margin(policy, reference, pairs, beta)
    return PairLosses(pairs.weight * -F.logsigmoid(z), z.detach())


def winners_only(policy: Tensor, reference: Tensor, pairs: Pairs, beta: float) -> PairLosses:
    """Plain fine-tuning on winners: their own denoising error, without losers, reference or beta."""
    losses = pairs.weight * policy[pairs.winner]
    return PairLosses(losses, torch.zeros_like(losses).detach())


OBJECTIVES: dict[str, Objective] = {"dp2o": dp2o, "winners_only": winners_only}
