"""Preference pairs of one group and their weights (method, sections 3 and 4). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.artifacts.digests import seed_of

NO_LOSER = -1


@dataclass(frozen=True)
class Pair:
    """Winner and loser by their candidate indexes; `gap` is the winner's reward less the loser's."""

    winner: int
    loser: int
    gap: float


def rank(indexes: Sequence[int], rewards: NDArray[np.float64]) -> list[int]:
    """Positions in the order of falling reward; ties by candidate index, so that the order is always the same."""
    return sorted(range(len(indexes)), key=lambda position: (-rewards[position], indexes[position]))


def dp2o(indexes: Sequence[int], rewards: NDArray[np.float64], top: int) -> list[Pair]:
    """All top-N x bottom-N pairs, best winner with worst loser first; pairs of equal reward are dropped.

    Args:
        indexes: candidate indexes, `[M]`.
        rewards: R in [0, 1], `[M]`.
        top: N; at most M / 2.
    """
    order = rank(indexes, rewards)
    winners, losers = order[:top], order[::-1][:top]
    return [
        Pair(indexes[winner], indexes[loser], float(rewards[winner] - rewards[loser]))
        for winner in winners
        for loser in losers
        if rewards[winner] > rewards[loser]
    ]


def best_vs_worst(indexes: Sequence[int], rewards: NDArray[np.float64]) -> list[Pair]:
    """The one pair of the best and the worst candidate; none if all rewards are equal."""
    return dp2o(indexes, rewards, 1)


def random(indexes: Sequence[int], rewards: NDArray[np.float64], top: int, seed: int, lr_id: str) -> list[Pair]:
    """Control: as many pairs as `dp2o` has, between 2N candidates drawn without regard to reward.

    An alignment that does not beat it has learnt from its own samples, not from preferences.
    """
    drawn = np.random.default_rng(seed_of("random pairs", seed, lr_id)).permutation(len(indexes))[: 2 * top]
    return [
        Pair(indexes[winner], indexes[loser], float(rewards[winner] - rewards[loser]))
        for winner in drawn[:top]
        for loser in drawn[top:]
    ]


def winners_only(indexes: Sequence[int], rewards: NDArray[np.float64], top: int) -> list[Pair]:
    """Control: the top-N candidates without losers, for plain fine-tuning on winners."""
    return [Pair(indexes[winner], NO_LOSER, 0.0) for winner in rank(indexes, rewards)[:top]]


def intra_weights(pairs: Sequence[Pair]) -> NDArray[np.float64]:
    """w_intra = |gap| + 1 - mean |gap| over the group's pairs, `[P]`; 1 on average."""
    gaps = np.abs([pair.gap for pair in pairs])
    weights: NDArray[np.float64] = gaps + (1.0 - gaps.mean())
    return weights


def inter_weights(sigmas: NDArray[np.float64]) -> NDArray[np.float64]:
    """w_inter = sigma + 1 - mean sigma over all groups, `[G]`; 1 on average."""
    weights: NDArray[np.float64] = sigmas + (1.0 - sigmas.mean())
    return weights


def spread(rewards: NDArray[np.float64]) -> float:
    """sigma_g: population standard deviation of the group's rewards (the group is all there is, not a sample)."""
    return float(np.std(rewards))
