"""Who meets whom: sparse, and balanced. Pure."""

import numpy as np

from components.storage.digests import seed_of


def schedule(lr_id: str, candidates: int, opponents: int, seed: int) -> list[tuple[int, int]]:
    """Pairs of positions, the lower first, in which each candidate meets `opponents` others, or all there are.

    Of an odd number of candidates with an odd number of opponents one meets one fewer: no schedule does better.
    Candidates sit on a ring in a drawn order and meet those at a few drawn distances, 1 among them, so that all are
    connected and no two meet twice. The draw is a function of `lr_id` and `seed`.
    """
    degree = min(opponents, candidates - 1)
    if degree < 1:
        return []
    generator = np.random.default_rng(seed_of("judge", seed, lr_id))
    ring = [int(place) for place in generator.permutation(candidates)]
    near = (candidates - 1) // 2  # the largest distance at which everybody has two others, one on each side
    odd = candidates % 2 == 1 and degree % 2 == 1
    distances = [1, *(2 + generator.permutation(max(near - 1 - odd, 0)))][: degree // 2]
    met = {(place, (place + int(step)) % candidates) for step in distances for place in range(candidates)}
    if odd:
        # This distance leads once round all places of an odd ring: every other step of it is a pair.
        way = [near * step % candidates for step in range(candidates)]
        met |= set(zip(way[:-1:2], way[1::2], strict=True))
    elif degree % 2:
        met |= {(place, place + candidates // 2) for place in range(candidates // 2)}
    return sorted((min(ring[one], ring[other]), max(ring[one], ring[other])) for one, other in met)
