"""Candidates a second: batched over seeds, against one call of a stock pipeline for each seed."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.parts import model
from benchmarks.timing import Comparison, Contender, compare, interleaved
from components.artifacts.images import to_8bit
from components.backbones.tiny_flow import TinyFlow
from components.generate.sampling import sample_candidates

TARGET = 1.5


def pipeline_call(network: TinyFlow, lr: Tensor, seed: int) -> NDArray[np.uint8]:
    """One image `[H, W, 3]` as a stock pipeline makes it: encode the condition, draw noise, denoise, convert."""
    condition = network.condition(lr, ("",))
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((1, *network.noise_shape(*condition.upsampled.shape[-2:])), generator=generator)
    return to_8bit(network.sample(condition, noise, "reference").images)[0]


def measure(root: Path, folder: Path | None, count: int, peer_count: int, steps: int, rounds: int) -> list[Comparison]:
    """`count` candidates of `steps` Euler steps; the peer makes `peer_count` of them, which suffices for a rate."""
    network = model.backbone(folder, steps)
    stock = model.in_stock_layout(network)
    _, lr, _ = model.group(root, 1)
    ours = Contender(
        "batched over seeds",
        count,
        lambda: sample_candidates(network, lr, "", "benchmark", range(count), count, "none"),
    )
    peer = Contender(
        "one pipeline call a seed", peer_count, lambda: [pipeline_call(stock, lr, seed) for seed in range(peer_count)]
    )
    laps = interleaved([ours, peer], rounds)
    return [compare(f"generate, M = {count}", "candidates/s", laps, ours, peer, TARGET)]
