"""The best of several restorations of one picture, by the reward that an LR without an HR has."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.artifacts.depth import as_8bit
from components.artifacts.images import to_tensor
from components.errors import BadInput
from components.metrics.suite import Suite
from components.rewards.group import group_rewards
from components.upscale.carried import Pixels
from components.upscale.tiles import GRID, spans

WINDOW = 512
"""Side of what metrics see at once, output px: their memory grows with it, and they were made for pictures of that
size. A larger picture's score is the mean over its windows."""


@dataclass(frozen=True)
class Rated:
    """A restoration's seed, its reward among those it is compared with, and its scores by metric."""

    seed: int
    reward: float
    scores: dict[str, float]


def best_of(
    restore: Callable[[int], Pixels], lr: Pixels, seeds: Sequence[int], suite: Suite
) -> tuple[Pixels, list[Rated]]:
    """The picture that is rewarded most, and what each seed got, the best first; of equals the first seed.

    The reward is min-max over these restorations (docs/method.md, section 2). Pictures wait on the disk.

    Args:
        restore: seed to RGB `[H, W, 3]`.
        lr: RGB `[h, w, 3]` that they are restored from.
        suite: the rewarded metrics, none of which needs an HR.

    Raises:
        BadInput: a metric cannot judge a picture.
    """
    with tempfile.TemporaryDirectory(prefix="dp2o-best-") as folder:
        found = []
        for seed in seeds:
            picture = restore(seed)
            np.save(Path(folder) / f"{seed}.npy", picture)
            found.append(scores_of(picture, lr, suite, seed))
        rated = ranked(seeds, found)
        best: Pixels = np.load(Path(folder) / f"{rated[0].seed}.npy")
    return best, rated


def ranked(seeds: Sequence[int], scores: Sequence[dict[str, float]]) -> list[Rated]:
    """What each seed got, the best first; of equals the first. `scores` by metric, of each seed."""
    raw = {name: np.array([one[name] for one in scores]) for name in scores[0]}
    rewards = group_rewards(raw)
    order = np.argsort(-rewards, kind="stable")
    return [Rated(seeds[place], float(rewards[place]), scores[place]) for place in order]


def scores_of(picture: Pixels, lr: Pixels, suite: Suite, seed: int) -> dict[str, float]:
    """Mean over windows of each metric; windows that a metric cannot judge, such as an empty sky, are left out.

    Raises:
        BadInput: a metric judges no window.
    """
    collected: dict[str, list[float]] = {name: [] for name in suite.names}
    detail = ""
    for window, seen in _windows(as_8bit(picture), as_8bit(lr)):
        result = suite.score(to_tensor(window), None, to_tensor(seen))
        for name, values in result.values.items():
            collected[name] += [float(value) for value in values if np.isfinite(value)]
        detail = "; ".join(f"{failure.metric}: {failure.detail}" for failure in result.failures) or detail
    lacking = [name for name, values in collected.items() if not values]
    if lacking:
        raise BadInput(
            f"--best-of: {', '.join(lacking)} gave no score of seed {seed} ({detail}): leave --best-of out, or take "
            "the metric out of score.nr"
        )
    return {name: float(np.mean(values)) for name, values in collected.items()}


def _windows(
    picture: NDArray[np.uint8], lr: NDArray[np.uint8]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Parts of a restoration, and of the LR at the same place."""
    height, width = lr.shape[:2]
    scale = picture.shape[0] // height
    side = max(WINDOW // scale // GRID * GRID, 2 * GRID)
    for row in spans(height, side, GRID):
        for column in spans(width, side, GRID):
            high, wide = row.scaled(scale), column.scaled(scale)
            yield (
                np.ascontiguousarray(picture[high.start : high.stop, wide.start : wide.stop]),
                np.ascontiguousarray(lr[row.start : row.stop, column.start : column.stop]),
            )
