"""The trainable network of `restorer_flow`: a U of plain residual blocks, most of it at low resolution.

It leaves no lattice of its own: it works on whole pixels at full resolution, halves by averages, enlarges by bilinear
interpolation followed by convolution, and has no fixed-phase unshuffle. It has no normalisation layers, so that what it
makes of a place depends on the surroundings of that place alone, not on what else is in the picture or tile.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.backbones.dial import DialledNetwork

CONTEXT = 7
"""Channels: the restored picture (3), its difference to the upsampled LR (3), and the residual's unit (1)."""

FREQUENCIES = 16
"""Of the noise level's Fourier features."""


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(silu(x)) (1 + a) + b)); a, b are functions of the noise level."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.modulation.weight)
        for bias in (self.first.bias, self.second.bias, self.modulation.bias):
            if bias is not None:
                nn.init.zeros_(bias)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        scale, shift = self.modulation(embedded)[:, :, None, None].chunk(2, dim=1)
        inner: Tensor = self.second(F.silu(self.first(F.silu(x)) * (1.0 + scale) + shift))
        return x + inner


class Level(nn.ModuleList):
    """Residual blocks, one after the other."""

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        for block in self:
            x = block(x, embedded)
        return x


class StochasticBranch(DialledNetwork):
    """Predicts the residual in units of its scale, `[B, 3, H, W]`.

    Args:
        channels: width of each level; each works at half the resolution of the one before.
        blocks: residual blocks of each level, on the way down; the way up has the same, but for the lowest level.
        embedding: width of the noise level's embedding.
        dial: whether it has one.
    """

    def __init__(self, channels: tuple[int, ...], blocks: tuple[int, ...], embedding: int, dial: bool = False) -> None:
        super().__init__()
        self.multiple = 2 ** (len(channels) - 1)
        self.frequencies = nn.Buffer(2.0 ** torch.linspace(-2.0, 4.0, FREQUENCIES) * math.pi, persistent=False)
        self.embed = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.enter = nn.Conv2d(3 + CONTEXT, channels[0], 3, padding=1)
        widths = list(pairwise(channels))
        self.down = nn.ModuleList(nn.Conv2d(wide, narrow, 3, padding=1) for wide, narrow in widths)
        self.up = nn.ModuleList(nn.Conv2d(narrow, wide, 3, padding=1) for wide, narrow in widths)
        self.left = nn.ModuleList(
            Level(ResidualBlock(width, embedding) for _ in range(count))
            for width, count in zip(channels, blocks, strict=True)
        )
        self.right = nn.ModuleList(
            Level(ResidualBlock(width, embedding) for _ in range(count))
            for width, count in zip(channels[:-1], blocks[:-1], strict=True)
        )
        self.leave = nn.Conv2d(channels[0], 3, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        if self.leave.bias is not None:
            nn.init.zeros_(self.leave.bias)
        self._width = embedding
        if dial:
            self.add_dial()

    @property
    def embedding_width(self) -> int:
        return self._width

    def forward(self, noisy: Tensor, context: Tensor, sigma: Tensor, preference: Tensor | None = None) -> Tensor:
        """Predict from `noisy` `[B, 3, H, W]`, `context` `[B, 7, H, W]`, sigma `[B]` in (0, 1] and a dial's `[B]`.

        Sizes that halving does not divide are padded for the network, and its output is cropped.
        """
        height, width = noisy.shape[-2:]
        phases = sigma.view(-1, 1) * self.frequencies
        embedded = self.told(self.embed(torch.cat([phases.sin(), phases.cos()], dim=1)), preference)
        x = torch.cat([noisy, context], dim=1)
        x = self.enter(F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), "replicate"))
        skips = []
        for level, blocks in enumerate(self.left):
            x = blocks(x, embedded)
            if level < len(self.down):
                skips.append(x)
                x = self.down[level](F.avg_pool2d(x, 2))
        for level in reversed(range(len(self.up))):
            x = self.up[level](x)  # before enlarging: a quarter of the work
            x = skips[level] + F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = self.right[level](x, embedded)
        predicted: Tensor = self.leave(F.silu(x))
        return predicted[..., :height, :width]
