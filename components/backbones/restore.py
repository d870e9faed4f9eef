"""LR images to restorations: the one way from noise to a picture, for everyone who restores.

generate, the judge, validation and `upscale` differ in whose noise they draw, how many rows they want at once, and who
predicts.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from components.backbones.base import Backbone, Condition, Source
from components.backbones.colour import ColourFix, fix_colours
from components.backbones.samplers.base import Sampler, moves

BLOCK = {"cpu": 4, "cuda": 16}
"""Rows of every batch of `sample_rows`, by device; 4 rows are as fast as 16 on a CPU."""

Draw = Callable[[tuple[int, ...]], Tensor]
"""Noise of one restoration, standard normal, of the shape that is asked for."""


@dataclass(frozen=True)
class Samples:
    """Restorations.

    Attributes:
        images: `[M, 3, H, W]` in [0, 1].
        latents: clean x0 that they were decoded from, `[M, ...]`; None where `Backbone.stores_latents` is False.
    """

    images: Tensor
    latents: Tensor | None


@torch.no_grad()
def restore(
    backbone: Backbone,
    lr: Tensor,
    prompts: tuple[str, ...],
    draws: Sequence[Draw],
    colour_fix: ColourFix,
    source: Source,
    *,
    sampler: Sampler[Any] | None = None,
    batch: int | None = None,
    block: int | None = None,
) -> Iterator[Samples]:
    """Colour-fixed restorations, what the metrics see, one batch after the other: memory is that of one.

    Args:
        lr: `[B, 3, h, w]` in [0, 1], of one size; each is conditioned on once.
        prompts: one an LR.
        draws: noise of M restorations, M a multiple of B: the first M / B are of the first LR.
        source: who predicts: a branch, or a mixture of both.
        sampler: None for the backbone's own.
        batch: restorations a batch, which changes no bit; None for all at once.
        block: rows of every network call, see `sample_rows`; None for the backbone's.
    """
    sampler = sampler or backbone.sampler
    condition = backbone.condition(lr, prompts)
    shape = sampler.noise_shape(backbone.latent_shape(*condition.upsampled.shape[-2:]))
    each = len(draws) // len(lr)
    batch = batch or len(draws)
    for start in range(0, len(draws), batch):
        noise = torch.stack([draw(shape) for draw in draws[start : start + batch]])
        rows = condition.take([row // each for row in range(start, start + len(noise))])
        samples = sample_rows(backbone, rows, noise, source, sampler, block)
        yield Samples(fix_colours(samples.images, rows.upsampled, colour_fix), samples.latents)


@torch.no_grad()
def sample_rows(
    backbone: Backbone,
    condition: Condition,
    noise: Tensor,
    source: Source,
    sampler: Sampler[Any] | None = None,
    block: int | None = None,
) -> Samples:
    """`sample`, but on one machine a row's bits depend on that row alone, not on M or its place in the batch.

    oneDNN and cuDNN pick other kernels for other batch sizes, and those differ in their last bits. So all batches are
    of BLOCK (or `sample_block`, or `block`) rows, and the last is filled up with copies, whose cost is the price: ask
    for many rows at once.
    """
    count = len(noise)
    block = block or backbone.sample_block or BLOCK.get(condition.upsampled.device.type, BLOCK["cpu"])
    images, latents = [], []
    for start in range(0, count, block):
        rows = [min(row, count - 1) for row in range(start, start + block)]
        samples = sample(backbone, condition.take(rows), noise[rows], source, sampler)
        images.append(samples.images[: count - start])
        if samples.latents is not None:
            latents.append(samples.latents[: count - start])
    return Samples(torch.cat(images), torch.cat(latents) if latents else None)


@torch.no_grad()
def sample(
    backbone: Backbone,
    condition: Condition,
    noise: Tensor,
    source: Source = "policy",
    sampler: Sampler[Any] | None = None,
) -> Samples:
    """Row i of `condition` with row i of `noise` `[M, *noise_shape]`, in one batch; colours are not fixed.

    The last bits of a row may depend on M, see `sample_rows`.
    """
    sampler = sampler or backbone.sampler
    (last,) = deque(moves(sampler, backbone, condition, noise, source), maxlen=1)
    latents = sampler.finish(backbone, last.drawn, condition)
    images = backbone.decode(latents, condition)
    return Samples(images, latents if backbone.stores_latents else None)
