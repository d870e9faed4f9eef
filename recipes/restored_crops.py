"""The training pool of the embedded base: crops of photos, degraded in four ways, and what the frozen restorer makes.

The restorer costs half a second of a CPU core a crop, fifty times what the small branch does, so each crop is restored
once and cut, at any pixel, into many training patches. Crop k depends on (seed, k) and the photos alone; crops are made
by several processes in blocks, and a block that exists is not made again.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray

from components.artifacts.images import to_8bit, to_tensor
from components.backbones.colour import fix_colours
from components.backbones.restorers.restorer import Restorer, load_restorer
from components.backbones.upsampling import upsample
from components.photos.degradation import degrade
from components.progress import progress
from components.settings.degradation import DegradationSettings
from components.storage.digests import seed_of
from components.storage.publish import atomic_file
from recipes.photo_crops import draw_crop

Image8 = NDArray[np.uint8]

logger = logging.getLogger("dp2o.recipes")

CROP, SCALE = 128, 4
BLOCK = 100
"""Crops a file."""

MILD = DegradationSettings(
    blur_sigma=(0.2, 1.5),
    resize_factor=(0.5, 1.2),
    gaussian_sigma=(1.0, 10.0),
    poisson_scale=(0.05, 1.0),
    jpeg_quality=(60, 95),
)
"""The ranges of `params.yaml`."""

FULL = DegradationSettings()
"""Real-ESRGAN's first order."""

SHARES = {"bicubic": 0.15, "jpeg": 0.15, "mild": 0.45, "full": 0.25}
"""Of the four degradations: people's LR images are not one distribution, and the pipeline's default is the mild one."""

TEXTURED = 0.5
"""Share of the crops for which the busier of two places is taken: a third of all photographs is sky and blur."""


@dataclass(frozen=True)
class Crops:
    """LR `[N, 32, 32, 3]`, restored and HR `[N, 128, 128, 3]`, 8-bit, and the degradation of each."""

    lr: Image8
    restored: Image8
    hr: Image8
    kind: NDArray[np.str_]


def low_resolution(hr: Image8, kind: str, rng: np.random.Generator) -> Image8:
    """LR of an HR crop under degradation `kind`: bicubic, jpeg (bicubic, then quality 60 to 95), jpeg75, mild, full."""
    if kind in ("mild", "full"):
        lr, _ = degrade(hr, rng, MILD if kind == "mild" else FULL, SCALE)
        return lr
    size = (hr.shape[1] // SCALE, hr.shape[0] // SCALE)
    lr = np.asarray(PIL.Image.fromarray(hr).resize(size, PIL.Image.Resampling.BICUBIC))
    if kind == "bicubic":
        return lr
    quality = 75 if kind == "jpeg75" else int(rng.integers(60, 96))
    _, coded = cv2.imencode(".jpg", cv2.cvtColor(lr, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def jittered(crop: Image8, rng: np.random.Generator) -> Image8:
    """The crop under another light: gain of each channel, gamma and saturation, each a little."""
    image = crop.astype(np.float32) / 255.0
    image = image ** np.float32(np.exp(rng.normal(0.0, 0.15)))
    grey = image.mean(axis=2, keepdims=True)
    image = grey + np.float32(rng.uniform(0.7, 1.3)) * (image - grey)
    image = image * np.exp(rng.normal(0.0, 0.06, 3)).astype(np.float32)
    return np.asarray(np.rint(image.clip(0.0, 1.0) * 255.0), dtype=np.uint8)


def restored(lr: Image8, restorer: Restorer) -> Image8:
    """What the model's condition holds of an LR: the restorer's picture with the LR's colours, 8-bit `[H, W, 3]`."""
    tensor = to_tensor(lr)
    fixed: Image8 = to_8bit(fix_colours(restorer(tensor), upsample(tensor, SCALE, 2**30), "wavelet"))[0]
    return fixed


def _crop(photos: Sequence[Image8], restorer: Restorer, seed: int, number: int) -> tuple[Image8, Image8, Image8, str]:
    rng = np.random.default_rng(seed_of("restored crop", seed, number))
    hr = draw_crop(list(photos), CROP, rng)
    if rng.random() < TEXTURED:
        hr = max(hr, draw_crop(list(photos), CROP, rng), key=lambda crop: float(cv2.Laplacian(crop, cv2.CV_32F).var()))
    hr = jittered(hr, rng) if rng.random() < 0.5 else hr
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    lr = low_resolution(hr, kind, rng)
    return lr, restored(lr, restorer), hr, kind


_photos: Sequence[Image8] = ()
"""Of a worker process, given to it once."""


def _start_worker(photos: Sequence[Image8]) -> None:
    global _photos  # noqa: PLW0603 - a worker's photos: sent once instead of with each block
    _photos = photos
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _block(out: Path, restorer_name: str, seed: int, size: int, block: int) -> Path:
    path = out / f"crops-{seed}-{block:04d}.npz"
    restorer = load_restorer(restorer_name, Path(), torch.device("cpu"))
    rows = [_crop(_photos, restorer, seed, block * size + place) for place in range(size)]
    lr, picture, hr, kind = (np.stack(column) for column in zip(*rows, strict=True))
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, lr=lr, restored=picture, hr=hr, kind=kind)
    return path


def pool(
    photos: Sequence[Image8], count: int, restorer: str, seed: int, out: Path, workers: int = 0, size: int = BLOCK
) -> Crops:
    """`count` crops in blocks of `size`, made by `workers` processes of one thread (0: one a core)."""
    out.mkdir(parents=True, exist_ok=True)
    blocks = range(count // size)
    missing = [block for block in blocks if not (out / f"crops-{seed}-{block:04d}.npz").is_file()]
    if missing:
        # Not forked: a forked copy of a process in which torch has threads waits for them for ever.
        context = multiprocessing.get_context("spawn")
        with context.Pool(workers or os.cpu_count() or 1, _start_worker, (photos,)) as processes:
            made = processes.imap(partial(_block, out, restorer, seed, size), missing)
            list(progress(made, total=len(missing), desc="restored crops", unit="block"))
    return join([out / f"crops-{seed}-{block:04d}.npz" for block in blocks])


def join(paths: Sequence[Path]) -> Crops:
    """The crops of block files, in order."""
    blocks = [np.load(path) for path in paths]
    return Crops(*(np.concatenate([block[name] for block in blocks]) for name in ("lr", "restored", "hr", "kind")))
