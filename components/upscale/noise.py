"""The noise of a picture of any size, drawn window by window."""

import torch
from torch import Tensor

from components.backbones.base import Backbone, candidate_noise
from components.storage.digests import seed_of
from components.upscale.tiles import Span

BLOCK = 1024
"""Side of a block, output px."""


class NoiseField:
    """Standard normal noise over a whole output, in blocks that each have their own seed.

    It is a function of the picture's digest, the seed and the place alone: tiles of any size see the same noise where
    they overlap, and only the blocks of the current rows are in memory. A picture of one block gets exactly the noise
    of candidate `seed` of that LR image.
    """

    def __init__(self, backbone: Backbone, lr_id: str, seed: int, height: int, width: int) -> None:
        self._backbone, self._lr_id, self._seed = backbone, lr_id, seed
        self._single = (height, width) if height <= BLOCK and width <= BLOCK else None
        self._side: int = backbone.noise_shape(BLOCK, BLOCK)[-1]  # of a block, noise samples
        self._blocks: dict[tuple[int, int], Tensor] = {}

    def window(self, rows: Span, columns: Span) -> Tensor:
        """Noise of output px `rows` x `columns`, of the backbone's noise shape for that size.

        Windows start where a noise sample does, and are asked for from top to bottom: blocks above the window are
        forgotten. They may end anywhere: a latent that the picture fills only in part is a whole noise sample.
        """
        side, cell = self._side, BLOCK // self._side  # cell: output px a noise sample, per side
        shape = self._backbone.noise_shape(rows.stop - rows.start, columns.stop - columns.start)
        top, left = rows.start // cell, columns.start // cell
        bottom, right = top + shape[-2], left + shape[-1]
        self._blocks = {place: block for place, block in self._blocks.items() if (place[0] + 1) * side > top}
        noise = torch.empty(shape)
        for row in range(top // side, -(-bottom // side)):
            for column in range(left // side, -(-right // side)):
                first, last = max(top, row * side), min(bottom, (row + 1) * side)
                start, stop = max(left, column * side), min(right, (column + 1) * side)
                noise[..., first - top : last - top, start - left : stop - left] = self._block(row, column)[
                    ..., first - row * side : last - row * side, start - column * side : stop - column * side
                ]
        return noise

    def _block(self, row: int, column: int) -> Tensor:
        if (row, column) not in self._blocks:
            if self._single is not None:
                block = candidate_noise(self._lr_id, self._seed, self._backbone.noise_shape(*self._single))
            else:
                seed = seed_of("block", self._lr_id, self._seed, row, column)
                generator = torch.Generator("cpu").manual_seed(seed)
                block = torch.randn(self._backbone.noise_shape(BLOCK, BLOCK), generator=generator)
            self._blocks[row, column] = block
        return self._blocks[row, column]
