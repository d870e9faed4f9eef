"""One scale for more than two models: Bradley and Terry's strengths, with intervals over raters and photos. Pure.

P(i is preferred to j) = 1 / (1 + exp(s_j - s_i)); strengths have a mean of 0. A tie is half a win for each side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.sparse.csgraph import connected_components

from components.judge.bootstrap import Values

MOST_ROUNDS, TOLERANCE = 2000, 1e-9
LEAST_RESAMPLES = 0.9
"""Part of the resamples that must have a ranking; below it an interval would be of the lucky ones."""


@dataclass(frozen=True)
class Strength:
    """A model's place; 1 more is 2.7 times the odds. Ends are None where raters or photos are too few."""

    model: str
    strength: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Ranking:
    """Best first; `problem` says why there is none, or none with intervals."""

    strengths: tuple[Strength, ...]
    problem: str = ""


@dataclass(frozen=True)
class Duels:
    """Votes between models: places in `models`, the first's part of each vote, and who and what it is of, `[V]`."""

    models: tuple[str, ...]
    first: Sequence[int]
    second: Sequence[int]
    values: Sequence[float]
    raters: Sequence[str]
    photos: Sequence[str]


def ranking(duels: Duels, *, resamples: int = 500, confidence: float = 0.95, seed: int = 0) -> Ranking:
    """Strengths of all models, or the reason why there are none."""
    if not len(duels.values):
        return Ranking((), "no ranking: there is no vote")
    every = wins_of(duels, np.ones(len(duels.values)))
    if problem := unidentified(every, duels.models):
        return Ranking((), problem)
    centre = fit(every)
    parts = []
    lost = 0.0
    for clusters in (duels.photos, duels.raters):
        names, members = np.unique(np.asarray(clusters), return_inverse=True)
        if len(names) < 2:
            continue
        drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
        found = [wins_of(duels, draw[members].astype(np.float64)) for draw in drawn]
        fits = np.array([fit(wins) for wins in found if not unidentified(wins, duels.models)])
        lost = max(lost, 1.0 - len(fits) / resamples)
        if len(fits) > 1:
            parts.append((fits.var(axis=0) * len(names) / (len(names) - 1.0), len(names) - 1.0))
    order = np.argsort(-centre, kind="stable")
    if not parts or lost > 1.0 - LEAST_RESAMPLES:
        why = "no interval: there are too few raters and photos"
        if lost:
            why = f"no interval: {lost:.0%} of the resamples have no ranking, because some model wins or loses all"
        return Ranking(tuple(Strength(duels.models[place], float(centre[place]), None, None) for place in order), why)
    reach = _reach(parts, confidence)
    return Ranking(
        tuple(
            Strength(
                duels.models[place],
                float(centre[place]),
                float(centre[place] - reach[place]),
                float(centre[place] + reach[place]),
            )
            for place in order
        )
    )


def _reach(parts: Sequence[tuple[Values, float]], confidence: float) -> Values:
    """Half the interval's width: variances over photos and over raters together, as Satterthwaite adds them."""
    total = np.sum([variance for variance, _ in parts], axis=0)
    spread = np.sum([variance**2 / freedom for variance, freedom in parts], axis=0)
    freedom = np.where(spread > 0.0, total**2 / np.where(spread > 0.0, spread, 1.0), 1.0)
    reach: Values = stats.t.ppf(0.5 + confidence / 2.0, freedom) * np.sqrt(total)
    return reach


def wins_of(duels: Duels, weights: Values) -> NDArray[np.float64]:
    """`[N, N]`: how often the row's model was preferred to the column's; a tie is half for each."""
    wins = np.zeros((len(duels.models),) * 2)
    values, first, second = np.asarray(duels.values), np.asarray(duels.first), np.asarray(duels.second)
    np.add.at(wins, (first, second), weights * values)
    np.add.at(wins, (second, first), weights * (1.0 - values))
    return wins


def unidentified(wins: NDArray[np.float64], models: Sequence[str]) -> str:
    """Why these wins have no finite strengths, in words; empty where they have.

    They exist exactly if, however the models are split in two, each part beats the other once (Ford, American
    Mathematical Monthly 64, 1957).
    """

    def named(part: NDArray[np.bool_]) -> str:
        return ", ".join(model for model, inside in zip(models, part, strict=True) if inside)

    count, groups = connected_components(wins + wins.T > 0, directed=False)
    if count > 1:
        inside = groups == groups[0]
        return f"no ranking: {named(inside)} and {named(~inside)} were never compared"
    count, groups = connected_components(wins > 0, directed=True, connection="strong")
    if count == 1:
        return ""
    for group in range(count):
        inside = groups == group
        if not (wins[np.ix_(~inside, inside)] > 0).any():
            return (
                f"no ranking: {named(inside)} won every comparison with {named(~inside)}, which has no finite strength"
            )
    return "no ranking: some models won every comparison with the others"


def fit(wins: NDArray[np.float64]) -> Values:
    """Maximum-likelihood strengths `[N]` (Hunter, Annals of Statistics 32, 2004), whose mean is 0."""
    games, won = wins + wins.T, wins.sum(axis=1)
    strengths = np.ones(len(wins))
    for _ in range(MOST_ROUNDS):
        updated = won / (games / (strengths[:, None] + strengths)).sum(axis=1)
        updated /= np.exp(np.log(updated).mean())
        done = bool(np.abs(np.log(updated) - np.log(strengths)).max() < TOLERANCE)
        strengths = updated
        if done:
            break
    logs = np.log(strengths)
    centred: Values = logs - logs.mean()
    return centred
