"""Which images a study compares: spread over photos, drawn by the seed. Pure."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from components.artifacts import tables
from components.storage.digests import seed_of


def spread(rows: Sequence[tables.Row], seed: int) -> list[tables.Row]:
    """All rows: first one of each photo, then a second of each, and so on; photos and their rows in a drawn order."""
    generator = np.random.default_rng(seed_of("study images", seed))
    by_photo: dict[str, list[tables.Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: str(row["lr_id"])):
        by_photo[str(row["source"])].append(row)
    photos = [by_photo[name] for name in sorted(by_photo)]
    photos = [photos[place] for place in generator.permutation(len(photos))]
    photos = [[own[place] for place in generator.permutation(len(own))] for own in photos]
    longest = max((len(own) for own in photos), default=0)
    return [own[turn] for turn in range(longest) for own in photos if turn < len(own)]


def two_of(indexes: Sequence[int], count: int, lr_id: str, seed: int) -> list[tuple[int, int]]:
    """At most `count` pairs of candidates of one group, drawn without regard to any score.

    What a metric would choose tells nothing of what it does not see.
    """
    every = list(combinations(sorted(indexes), 2))
    drawn = np.random.default_rng(seed_of("study candidates", seed, lr_id)).permutation(len(every))[:count]
    return [every[place] for place in drawn]


def checks_wanted(pairs: int, share: float, least: int = 3) -> int:
    """Attention checks beside so many pairs; none where the share is 0."""
    return max(least, round(share * pairs)) if share else 0
