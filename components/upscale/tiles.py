"""Where tiles lie along one axis, and with which weights they blend."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from components.errors import BadInput

GRID = 8
"""Tiles start on multiples of this many LR px: down-sampling then sees the grid of the whole picture."""


@dataclass(frozen=True)
class Span:
    """LR px `start` (included) to `stop` (excluded) of one axis."""

    start: int
    stop: int

    def scaled(self, scale: int) -> "Span":
        """The same span in output px."""
        return Span(self.start * scale, self.stop * scale)


def check_tiling(tile: int, overlap: int) -> None:
    """Raises BadInput unless tiles of `tile` LR px can overlap by `overlap` px on the grid."""
    if tile % GRID or overlap % GRID or not 0 < 2 * overlap <= tile:
        raise BadInput(
            f"tile {tile} with overlap {overlap}: both must be multiples of {GRID} LR px, "
            "and the overlap more than 0 and at most half of the tile"
        )


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Tiles that cover `length` LR px: none longer than `tile`, neighbours sharing at least `overlap` px.

    An axis no longer than a tile is one span. The last tile is moved back to end with the axis rather than be a sliver.
    """
    check_tiling(tile, overlap)
    if length <= tile:
        return [Span(0, length)]
    step = tile - overlap
    last = math.ceil((length - tile) / GRID) * GRID
    starts = [*range(0, last, step), last]
    return [Span(start, min(start + tile, length)) for start in starts]


def blend_weights(parts: list[Span], ramp: int) -> list[Tensor]:
    """Weights of each span's positions, float32; at every position those of the spans that cover it sum to one.

    Each rises as sin^2 over its first `ramp` positions and falls likewise over its last ones, save at the ends of the
    axis: sin^2 has no slope at either end, so a seam shows neither as a step nor as a crease.
    """
    length = parts[-1].stop
    raw, total = [], torch.zeros(length, dtype=torch.float64)
    rising = torch.sin((torch.arange(ramp, dtype=torch.float64) + 0.5) / ramp * (math.pi / 2)).square()
    for part in parts:
        weight = torch.ones(part.stop - part.start, dtype=torch.float64)
        if part.start > 0:
            weight[:ramp] *= rising
        if part.stop < length:
            weight[-ramp:] *= rising.flip(0)
        raw.append(weight)
        total[part.start : part.stop] += weight
    return [(weight / total[part.start : part.stop]).float() for part, weight in zip(parts, raw, strict=True)]
