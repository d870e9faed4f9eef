"""Which split a photo belongs to. All crops of one photo share it, so that no test crop has a sibling in training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from components.errors import BadInput


def split_photos(sources: Iterable[str], fractions: dict[str, float], seed: int) -> dict[str, str]:
    """Assigns each photo to a split, with exact counts, by the order of sha256(seed, digest).

    Args:
        sources: the photos' digests; their order does not matter.
        fractions: split → its share of the photos; they sum to 1. A split with a share above 0 gets at least one photo.
        seed: another seed gives another assignment.

    Returns:
        Digest → split.

    Raises:
        BadInput: fewer photos than splits with a share.
    """
    ordered = sorted(set(sources), key=lambda source: hashlib.sha256(f"{seed}/{source}".encode()).digest())
    counts = split_counts(len(ordered), fractions)
    names = [name for name, count in counts.items() for _ in range(count)]
    return dict(zip(ordered, names, strict=True))


def split_counts(total: int, fractions: dict[str, float]) -> dict[str, int]:
    """Whole numbers of photos for the shares, by largest remainder, none of them 0 where the share is not."""
    used = [name for name, share in fractions.items() if share > 0]
    if total < len(used):
        raise BadInput(
            f"{total} usable photos cannot fill the splits {', '.join(used)}: add photos to prepare.sources"
            + (", or name some for training alone in prepare.align_sources and set prepare.split.align to 0")
            * ("align" in used and total == len(used) - 1)
        )
    counts = {name: int(total * share) for name, share in fractions.items()}
    remainders = sorted(used, key=lambda name: counts[name] - total * fractions[name])
    for name in remainders[: total - sum(counts.values())]:
        counts[name] += 1
    for name in used:
        if counts[name] == 0:
            largest = max(counts, key=lambda other: counts[other])
            counts[largest] -= 1
            counts[name] = 1
    return counts
