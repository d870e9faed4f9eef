"""A job's pictures as files: what the page shows, and what is taken away."""

import os

import numpy as np
from PIL import Image

from components.artifacts.depth import as_8bit
from components.artifacts.shards import encode_png
from components.studio.job import Job
from components.studio.restoring import BASE
from components.upscale.carried import Pixels
from components.upscale.encode import SAVE_OPTIONS, encoded

THUMBNAIL = 240
"""Longest side, px."""
LR = "LR"


def result(job: Job, name: str) -> bytes:
    """A restoration as `dp2o upscale` writes it, with all that its photo carried.

    Args:
        name: seed and suffix, such as `7.png`.

    Raises:
        KeyError: the job has none of that seed, or the format is not written.
    """
    stem, suffix = os.path.splitext(name)
    if suffix not in SAVE_OPTIONS:
        raise KeyError(name)
    return encoded(_made(job, _seed(stem)), suffix, job.photo)


def view(job: Job, name: str) -> bytes:
    """A PNG of one size for all names: `LR` enlarged bicubically, `base`, or a seed.

    Raises:
        KeyError: the job has no such picture.
    """
    if name == BASE and job.has_base:
        return encode_png(as_8bit(np.load(job.folder / f"{BASE}.npy")))
    if name == LR and job.ready:
        height, width = _made(job, job.ready[0]).shape[:2]
        lr = Image.fromarray(as_8bit(job.photo.pixels))
        return encode_png(np.asarray(lr.resize((width, height), Image.Resampling.BICUBIC)))
    return encode_png(as_8bit(_made(job, _seed(name))))


def thumbnail(job: Job, name: str) -> bytes:
    """A small PNG of a seed's picture; raises KeyError."""
    image = Image.fromarray(as_8bit(_made(job, _seed(name))))
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return encode_png(np.asarray(image))


def _made(job: Job, seed: int) -> Pixels:
    if seed not in job.ready:
        raise KeyError(seed)
    made: Pixels = np.load(job.folder / f"{seed}.npy", mmap_mode="r")
    return made


def _seed(name: str) -> int:
    try:
        return int(name)
    except ValueError as error:
        raise KeyError(name) from error
