"""What a step of pairs adds to the log: sums over pairs, which do not depend on how the step is divided. Pure."""

import torch
from torch import Tensor

from components.train.pairs import PairLosses, Pairs

LOGGED_SUMS = (
    "loss",
    "accuracy",
    "margin",
    "capped",
    "restrained",
    "misranked",
    "weight",
    "weight_squared",
    "pairs",
)
MISRANKED = -4.0
"""z below which a pair counts as badly misranked in the log."""
LOGGED_ERRORS = ("policy_winner", "policy_loser", "reference_winner", "reference_loser")


@torch.no_grad()
def sums_of(
    losses: Tensor,
    total: float,
    result: PairLosses,
    pairs: Pairs,
    policy: Tensor,
    reference: Tensor,
    images: int,
    cap: float,
    scales: Tensor | None,
) -> Tensor:
    """What one group adds to the log's sums, in the order of `LOGGED_SUMS`, `LOGGED_ERRORS` and the images.

    `losses` `[P]`, over `total`, are the group's part of the step's loss; all else is of the pairs as they are.
    """
    margins = result.margins
    none = margins.new_zeros((), dtype=torch.float64)
    over = (margins > cap).double().sum() if cap else none
    restrained = none if scales is None else (scales < 1.0).double().sum()
    accuracy = (margins > 0).double().sum() + 0.5 * (margins == 0).double().sum()  # undecided is a coin toss

    def loser_sum(errors_of: Tensor) -> Tensor:
        # Winners alone have no losers' error; not a number is what is logged, not another error in its place.
        alone = pairs.loser < 0
        return errors_of[pairs.loser.clamp_min(0)].double().masked_fill(alone, torch.nan).sum()

    return torch.stack(
        [
            losses.double().sum() / total,
            accuracy,
            margins.double().sum(),
            over,
            restrained,
            (margins < MISRANKED).double().sum(),
            pairs.weight.double().sum(),
            pairs.weight.double().square().sum(),
            margins.new_tensor(len(margins), dtype=torch.float64),
            policy[pairs.winner].double().sum(),
            loser_sum(policy),
            reference[pairs.winner].double().sum(),
            loser_sum(reference),
            margins.new_tensor(images, dtype=torch.float64),
        ]
    )
