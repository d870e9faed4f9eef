"""What a rater sees, in which order, and on which side: a function of the study's seed and the rater. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from components.storage.digests import seed_of
from components.study.manifest import Comparison, Manifest, Which

Kind = Literal["pair", "check", "repeat"]
LATE = 0.75
"""Repeats stand in the last quarter, what they repeat in the first half: nobody should remember."""


@dataclass(frozen=True)
class Task:
    """A comparison as a rater sees it.

    Attributes:
        number: place in the rater's order, from 0.
        comparison: its id.
        left: which of the two is on the left.
        kind: `repeat` is a pair that the rater has seen, with the sides exchanged.
    """

    number: int
    comparison: str
    left: Which
    kind: Kind


def tasks_of(manifest: Manifest, rater: str, number: int) -> tuple[Task, ...]:
    """All tasks of one rater.

    With `per_rater`, raters get consecutive parts of one shuffled list, so that all comparisons get as many votes as
    each other, within one.

    Args:
        number: of the rater, from 0, in the order of invitation.
    """
    generator = np.random.default_rng(seed_of("study order", manifest.seed, rater))
    pairs = _part(manifest, number)
    kinds: list[tuple[Comparison, Kind]] = [(one, "pair") for one in pairs]
    kinds += [(one, "check") for one in manifest.checks]
    order = [kinds[place] for place in generator.permutation(len(kinds))]
    lefts: list[Which] = ["first" if left else "second" for left in generator.random(len(order)) < 0.5]
    shown: list[tuple[Comparison, Which, Kind]] = [
        (one, left, kind) for (one, kind), left in zip(order, lefts, strict=True)
    ]
    early = [place for place, (_, _, kind) in enumerate(shown[: (len(shown) + 1) // 2]) if kind == "pair"]
    again = generator.permutation(early)[: manifest.repeats]
    repeats: list[tuple[Comparison, Which, Kind]] = [
        (shown[place][0], "second" if shown[place][1] == "first" else "first", "repeat") for place in again
    ]
    for repeat in repeats:
        shown.insert(int(generator.integers(round(LATE * len(shown)), len(shown) + 1)), repeat)
    return tuple(Task(place, one.id, left, kind) for place, (one, left, kind) in enumerate(shown))


def _part(manifest: Manifest, number: int) -> Sequence[Comparison]:
    pairs = manifest.pairs
    count = manifest.per_rater
    if count is None or count >= len(pairs):
        return pairs
    shuffled = np.random.default_rng(seed_of("study parts", manifest.seed)).permutation(len(pairs))
    return [pairs[shuffled[(number * count + place) % len(pairs)]] for place in range(count)]
