"""Weights of pairs and groups (docs/method.md, section 4). Pure."""

from collections.abc import Sequence

import numpy as np

from components.pair.pairs import Pair
from components.rewards.alignment import Values


def intra_weights(pairs: Sequence[Pair]) -> Values:
    """w_intra = |gap| + 1 - mean |gap| over the group's pairs, `[P]`; 1 on average."""
    gaps = np.abs([pair.gap for pair in pairs])
    weights: Values = gaps + (1.0 - gaps.mean())
    return weights


def inter_weights(sigmas: Values) -> Values:
    """w_inter = sigma + 1 - mean sigma over all groups, `[G]`; 1 on average."""
    weights: Values = sigmas + (1.0 - sigmas.mean())
    return weights


def raised(weights: Values, power: float) -> Values:
    """Weights to the power of `power`, negative ones as 0, scaled to a mean of 1; a power of 1 changes nothing."""
    if power == 1.0:
        return weights
    powers = np.maximum(weights, 0.0) ** power
    scaled: Values = powers / powers.mean()
    return scaled


def variation(weights: Values) -> float:
    """Standard deviation over mean: how much weights can change at all."""
    return float(weights.std() / weights.mean()) if weights.mean() else 0.0


def spread(rewards: Values) -> float:
    """sigma_g: population standard deviation of the group's rewards (the group is all there is, not a sample)."""
    return float(np.std(rewards))
