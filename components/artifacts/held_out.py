"""Which photos are held out of training: a function of their digests and a seed. Pure."""

from collections.abc import Mapping, Sequence

from components.storage.digests import seed_of


def held_out_photos(photos: Sequence[str], groups: Mapping[str, int], count: int, seed: int) -> list[str]:
    """Photos of which the groups are held out: at least `count` groups, with all groups of their photos.

    Args:
        photos: of the groups.
        groups: number of groups by photo.
        seed: of the draw.
    """
    held: list[str] = []
    for photo in sorted(set(photos), key=lambda photo: seed_of("held out", seed, photo)):
        if sum(groups[one] for one in held) >= count:
            break
        held.append(photo)
    return held
