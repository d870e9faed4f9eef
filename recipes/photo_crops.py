"""Training crops for models that learn from a folder of photos: an endless, seeded stream of LR/HR batches."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.errors import BadInput
from components.progress import progress
from components.storage.digests import seed_of

Image8 = NDArray[np.uint8]
Degrade = Callable[[Image8, np.random.Generator], Image8]

LONG_SIDES = (640, 960)
"""Each photo is read at these sizes, px: camera pictures are soft at their full size, and scale is worth varying."""

AHEAD = 4
"""Batches made before they are asked for."""

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def read_photos(folder: Path, held_out: float) -> tuple[list[Image8], list[Image8]]:
    """Photos of a folder at LONG_SIDES, split by photo into (training, held out) by a hash of the file's name.

    Raises:
        BadInput: the folder holds fewer than 10 photos.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(files) < 10:
        raise BadInput(f"{folder}: {len(files)} photos; run `python scripts/fetch_extended.py` or name another folder")
    training: list[Image8] = []
    kept_back: list[Image8] = []
    for path in progress(files, desc="reading photos", unit="photo"):
        with Image.open(path) as opened:
            photo = opened.convert("RGB")
        part = kept_back if seed_of("held-out", path.name) % 1000 < held_out * 1000 else training
        for side in LONG_SIDES:
            ratio = side / max(photo.size)
            if ratio < 1.0:
                size = (round(photo.width * ratio), round(photo.height * ratio))
                part.append(np.asarray(photo.resize(size, Image.Resampling.LANCZOS)))
            elif side == LONG_SIDES[0]:
                part.append(np.asarray(photo))
    return training, kept_back


def draw_crop(photos: list[Image8], size: int, rng: np.random.Generator) -> Image8:
    """A random crop `[size, size, 3]`, flipped and turned; the photo is drawn evenly, the place evenly within it.

    Raises:
        BadInput: no photo is large enough.
    """
    if all(min(photo.shape[:2]) < size for photo in photos):
        raise BadInput(f"none of {len(photos)} training photos holds a crop of {size} px: take larger photos or --crop")
    while True:
        photo = photos[rng.integers(len(photos))]
        height, width = photo.shape[:2]
        if min(height, width) >= size:
            break
    top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
    crop = np.rot90(photo[top : top + size, left : left + size], int(rng.integers(4)))
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return np.ascontiguousarray(crop)


def stream(
    photos: list[Image8], size: int, batch: int, degrade: Degrade, seed: int, start: int = 0
) -> Iterator[tuple[Image8, Image8]]:
    """Endless (LR, HR) batches `[B, h, w, 3]`, `[B, H, W, 3]`, made ahead of time in a thread.

    Batch k depends on (seed, k) alone, so a run that resumes at step `start` sees what it would have seen.
    """

    def batch_of(step: int) -> tuple[Image8, Image8]:
        rng = np.random.default_rng(seed_of("pretrain", seed, step))
        pairs = []
        for _ in range(batch):
            hr = draw_crop(photos, size, rng)
            pairs.append((degrade(hr, rng), hr))
        return np.stack([lr for lr, _ in pairs]), np.stack([hr for _, hr in pairs])

    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead = deque(pool.submit(batch_of, step) for step in range(start, start + AHEAD))
        for step in count(start + AHEAD):
            yield ahead.popleft().result()
            ahead.append(pool.submit(batch_of, step))
