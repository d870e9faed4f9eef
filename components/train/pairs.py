"""Pairs as an objective sees them, and z, which most objectives are functions of. Pure.

A group shares one t and one epsilon, so 2N policy errors and 2N reference errors give all N^2 pair losses. The errors
are means over C, H, W and z carries the factor -beta/2 (docs/method.md, section 5); code that drops the half means
beta/2 by its beta.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """Pairs as positions in the error vectors, and what their builder knew of them; None where it is unknown.

    No gradient flows through any of it.

    Attributes:
        winner: `[P]` int64.
        loser: `[P]` int64; -1 throughout where winners stand alone.
        weight: `[P]` float32, w_intra * w_inter.
        gap: `[P]` float32, the winner's reward less the loser's.
        margin: `[P]` float32, what z has to exceed.
        label_noise: `[P]` float32, chance that winner and loser are the wrong way round.
        target: `[P]` float32, calibrated reward difference.
    """

    winner: Tensor
    loser: Tensor
    weight: Tensor
    gap: Tensor
    margin: Tensor | None = None
    label_noise: Tensor | None = None
    target: Tensor | None = None

    def known(self, column: str) -> Tensor:
        """A column that the objective says it needs; training does not start where that is empty."""
        found: Tensor | None = getattr(self, column)
        if found is None:
            raise LookupError(f"an objective reads the pairs' {column}, which its settings' `needs` does not name")
        return found


@dataclass(frozen=True)
class PairLosses:
    """What an objective returns.

    Attributes:
        losses: weighted loss of each pair, `[P]`; the step's loss is their mean over all pairs of the step.
        margins: z of each pair, `[P]`, detached; above 0 the policy prefers the winner more than the reference does.
    """

    losses: Tensor
    margins: Tensor


def reward_margin(policy: Tensor, reference: Tensor, pairs: Pairs, beta: float) -> Tensor:
    """z = -(beta/2) [(e_theta^w - e_theta^l) - (e_ref^w - e_ref^l)], `[P]`, from errors `[B]`."""
    policy_gap = policy[pairs.winner] - policy[pairs.loser]
    reference_gap = reference[pairs.winner] - reference[pairs.loser]
    return -0.5 * beta * (policy_gap - reference_gap)
