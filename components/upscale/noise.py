"""The noise of a picture of any size, drawn window by window."""

import torch
from torch import Tensor

from components.artifacts.digests import seed_of
from components.backbones.base import Backbone, candidate_noise
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
        self._height, self._width = height, width
        self._blocks: dict[tuple[int, int], Tensor] = {}

    def window(self, rows: Span, columns: Span) -> Tensor:
        """Noise of output px `rows` x `columns`, of the backbone's noise shape for that size.

        Windows are asked for from top to bottom: blocks above the window are forgotten.
        """
        whole = self._backbone.noise_shape(rows.stop - rows.start, columns.stop - columns.start)
        cell = (rows.stop - rows.start) // whole[-2]  # output px a noise sample, per side
        self._blocks = {place: block for place, block in self._blocks.items() if (place[0] + 1) * BLOCK > rows.start}
        noise = torch.empty(whole)
        for row in range(rows.start // BLOCK, -(-rows.stop // BLOCK)):
            for column in range(columns.start // BLOCK, -(-columns.stop // BLOCK)):
                top, left = max(rows.start, row * BLOCK), max(columns.start, column * BLOCK)
                bottom, right = min(rows.stop, (row + 1) * BLOCK), min(columns.stop, (column + 1) * BLOCK)
                noise[
                    ...,
                    (top - rows.start) // cell : (bottom - rows.start) // cell,
                    (left - columns.start) // cell : (right - columns.start) // cell,
                ] = self._block(row, column)[
                    ...,
                    (top - row * BLOCK) // cell : (bottom - row * BLOCK) // cell,
                    (left - column * BLOCK) // cell : (right - column * BLOCK) // cell,
                ]
        return noise

    def _block(self, row: int, column: int) -> Tensor:
        if (row, column) not in self._blocks:
            height = min(BLOCK, self._height - row * BLOCK)
            width = min(BLOCK, self._width - column * BLOCK)
            shape = self._backbone.noise_shape(height, width)
            if self._height <= BLOCK and self._width <= BLOCK:
                block = candidate_noise(self._lr_id, self._seed, shape)
            else:
                seed = seed_of("block", self._lr_id, self._seed, row, column)
                block = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))
            self._blocks[row, column] = block
        return self._blocks[row, column]
