"""One group's scores: compute what is not known yet, and turn them into rows. Pure but for the metrics' networks."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch

from components.artifacts.tables import Row
from components.metrics.suite import GroupScores, Suite, applicable
from components.rewards.group import group_rewards
from components.score.cache import Score, Scores

UNDEFINED = "undefined"
"""Reason of a score that a metric has for no candidate of the HR: nothing went wrong."""

Images = Callable[[Sequence[int]], torch.Tensor]
"""Candidates at the given positions as `[K, 3, H, W]` in [0, 1]; read only when something is missing."""


def missing(
    metrics: Mapping[str, str], known: Scores, image_digests: Sequence[str], has_hr: bool
) -> dict[str, list[int]]:
    """Metric name -> positions of the candidates without a score by it; metrics that lack none are left out.

    `metrics`: digests by name, here and below.
    """
    result = {}
    for name in applicable(metrics, has_hr):
        scores = known.get(metrics[name], {})
        positions = [position for position, digest in enumerate(image_digests) if digest not in scores]
        if positions:
            result[name] = positions
    return result


def complete(
    suite: Suite,
    known: Scores,
    image_digests: Sequence[str],
    images: Images,
    *,
    hr: torch.Tensor | None,
    lr: torch.Tensor,
    batch: int,
) -> Scores:
    """`known` with every candidate's score by every metric that applies.

    Metrics that lack the same candidates are called together, so that those sharing a network run it once.
    """
    scores = {metric: dict(entries) for metric, entries in known.items()}
    by_positions: dict[tuple[int, ...], list[str]] = {}
    for name, lacking in missing(suite.digests, known, image_digests, hr is not None).items():
        by_positions.setdefault(tuple(lacking), []).append(name)
    for positions, names in by_positions.items():
        result = suite.score(images(positions), hr, lr, batch, names)
        _add(suite, scores, result, [image_digests[position] for position in positions])
    return scores


def _add(suite: Suite, scores: Scores, result: GroupScores, image_digests: list[str]) -> None:
    for name, values in result.values.items():
        entries = scores.setdefault(suite.metrics[name].digest, {})
        for digest, value in zip(image_digests, values.tolist(), strict=True):
            entries[digest] = Score(value) if math.isfinite(value) else Score(None, UNDEFINED)
    for failure in result.failures:
        entries = scores[suite.metrics[failure.metric].digest]
        entries[image_digests[failure.candidate]] = Score(None, failure.reason, failure.detail)


def rows(
    metrics: Mapping[str, str],
    scores: Scores,
    candidates: Sequence[Row],
    has_hr: bool,
    rewarded: Sequence[str],
    judged: Mapping[str, Sequence[Score]] = MappingProxyType({}),
    needed: Sequence[str] = (),
) -> tuple[list[Row], list[Row]]:
    """Rows of data/scores.parquet and of data/score_quarantine.parquet of one group.

    A candidate without a finite score by a rewarded metric gets no row and no reward, and the rewards are normalised
    over the others; where only a held-out metric fails, its column is null. Both are in the quarantine rows.

    Args:
        judged: scores of the judges by column, one a candidate; they are no part of R.
        needed: those of them without which a candidate gets no row.
    """
    kept: list[Row] = []
    quarantined: list[Row] = []
    for place, candidate in enumerate(candidates):
        row: Row = {"lr_id": candidate["lr_id"], "index": candidate["index"], "split": candidate["split"]}
        row |= dict.fromkeys(metrics)
        own = {name: scores[metrics[name]][candidate["image_digest"]] for name in applicable(metrics, has_hr)}
        own |= {name: found[place] for name, found in judged.items()}
        for name, score in own.items():
            row[name] = score.value
            if score.value is None and score.reason != UNDEFINED:
                where = {"lr_id": row["lr_id"], "index": row["index"], "metric": name}
                quarantined.append(where | {"reason": score.reason, "detail": score.detail})
        if all(row[name] is not None for name in (*rewarded, *needed)):
            kept.append(row)
    if kept:
        rewards = group_rewards({name: np.array([row[name] for row in kept], dtype=np.float64) for name in rewarded})
        for row, reward in zip(kept, rewards.tolist(), strict=True):
            row["reward"] = reward
    return kept, quarantined
