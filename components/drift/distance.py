"""Two samples of one number: how far apart, and may that be chance? Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from components.artifacts.retraining import Comparison
from components.settings.drift import DriftSettings

Values = NDArray[np.float64]


def compare(
    name: str, training_set: Sequence[float], new: Sequence[float], limits: DriftSettings, tests: int = 1
) -> Comparison:
    """Drift is what is both large (PSI) and no chance (KS): few pictures make any PSI large, many make any KS certain.

    Args:
        tests: how many statistics are compared; `limits.alpha` is divided by it (Bonferroni).
    """
    sizes = len(training_set), len(new)
    before, after = np.asarray(training_set, np.float64), np.asarray(new, np.float64)
    if not sizes[0]:
        return Comparison(name, "unknown", "there is no training set to compare with", *sizes)
    odd = int((~np.isfinite(before)).sum()), int((~np.isfinite(after)).sum())
    if any(odd):
        return Comparison(
            name, "unknown", f"{odd[0]} values of the training set and {odd[1]} new ones are missing", *sizes
        )
    if sizes[1] < limits.min_images:
        reason = f"{sizes[1]} new pictures, {limits.min_images} are needed (drift.min_images)"
        return Comparison(name, "too few", reason, *sizes)
    if sizes[0] < limits.min_images:
        reason = f"the training set has {sizes[0]} pictures, {limits.min_images} are needed (drift.min_images)"
        return Comparison(name, "unknown", reason, *sizes)
    edges = bin_edges(before, limits.bins)
    if not len(edges):
        return Comparison(
            name, "unknown", f"the training set is {before[0]:g} throughout: nothing can be told by it", *sizes
        )
    expected, found = fractions(before, edges), fractions(after, edges)
    index = psi(expected * sizes[0], found * sizes[1])
    test = stats.ks_2samp(before, after)
    level = limits.alpha / tests
    large, certain = index >= limits.psi, test.pvalue < level
    chance = f"KS {test.statistic:.3f} with p = {test.pvalue:.2g} (level {level:.2g})"
    text = f"PSI {index:.3f} (limit {limits.psi:g}), {chance}"
    drifted = bool(large and certain)
    if drifted:
        text = f"the distribution has changed: {text}"
    elif large:
        text = f"it looks different, but that may be chance: {text}"
    elif certain:
        text = f"a small change: {text}"
    figures = (index, float(test.statistic), float(test.pvalue))
    bins = (tuple(edges.tolist()), tuple(expected.tolist()), tuple(found.tolist()))
    return Comparison(name, "drift" if drifted else "same", text, *sizes, *figures, *bins)


def bin_edges(training_set: Values, bins: int) -> Values:
    """Inner edges of bins that the training set fills equally; fewer where values repeat, none where all are one."""
    inner = np.quantile(training_set, np.arange(1, bins) / bins)
    # a bin below the lowest value would be empty in the training set
    edges: Values = np.unique(inner[inner > training_set.min()])
    return edges


def fractions(values: Values, edges: Values) -> Values:
    """Part of `values` in each bin (edges belong to the bin above them) `[len(edges) + 1]`."""
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    result: Values = counts / len(values)
    return result


def psi(expected: Values, found: Values) -> float:
    """Population stability index: the sum over bins of (f − e) · ln(f / e), with e and f as fractions.

    Args:
        expected, found: counts by bin. Half an observation is added to each, so that an empty bin gives a finite index.
    """
    e = (expected + 0.5) / (expected + 0.5).sum()
    f = (found + 0.5) / (found + 0.5).sum()
    index = float(((f - e) * np.log(f / e)).sum())
    if not math.isfinite(index):
        raise ValueError(f"counts must be finite and not negative: {expected}, {found}")
    return index
