"""Train again? From a number of new pictures and the comparisons, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from components.artifacts.retraining import Comparison, Decision
from components.settings.drift import DriftSettings


def decide(new: int, comparisons: Sequence[Comparison], limits: DriftSettings) -> Decision:
    """Yes where enough is new, where what is new is different, or where that cannot be told.

    What cannot be told is a reason: a training set that is missing or broken would silence the alarm for good.
    Too few new pictures are none: there will be more.
    """
    if new == 0:
        return Decision(False, 0, (), "nothing is new since the last training: nothing to do")
    reasons = []
    if new >= limits.retrain_images:
        reasons.append(f"{new} new pictures are {limits.retrain_images} or more (drift.retrain_images)")
    reasons += [f"{row.name}: {row.reason}" for row in comparisons if row.verdict == "drift"]
    reasons += [f"{row.name} cannot be compared: {row.reason}" for row in comparisons if row.verdict == "unknown"]
    if not comparisons:
        reasons.append("nothing was compared, so that a change cannot be excluded")
    if reasons:
        return Decision(True, new, tuple(reasons), f"train again: {'; '.join(reasons)}")
    few = [row for row in comparisons if row.verdict == "too few"]
    why = few[0].reason if few else "their statistics are those of the training set"
    text = f"wait: {new} new pictures are fewer than {limits.retrain_images} (drift.retrain_images), and {why}"
    return Decision(False, new, (), text)
