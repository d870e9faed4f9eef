"""Candidates a second: batched over seeds, against one call of a stock pipeline for each seed.

The peer is the loop around a diffusers pipeline that public code runs: the condition is encoded anew in every call, the
network keeps PyTorch's default memory layout. A second peer has our layout, which shows what batching alone brings.
"""

import copy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.parts import model
from benchmarks.timing import Comparison, Contender, compare, interleaved
from components.artifacts.images import to_8bit
from components.backbones.base import candidate_noise
from components.backbones.samplers.levels import SIGMA_FLOOR
from components.backbones.tiny_flow import TinyFlow
from components.generate.sampling import sample_candidates

TARGET = 1.5
LR_ID = "benchmark"


@torch.no_grad()
def pipeline_call(flow: TinyFlow, network: nn.Module, lr: Tensor, index: int) -> NDArray[np.uint8]:
    """One image `[H, W, 3]` as a stock pipeline makes it: encode the condition, draw noise, denoise, convert."""
    upsampled = flow.condition(lr, ("",)).upsampled
    x = flow.config.kappa * candidate_noise(LR_ID, index, flow.noise_shape(*upsampled.shape[-2:]))[None]
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    scheduler.set_timesteps(sigmas=list(flow.sampler.levels))
    for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
        predicted = network(x, 2.0 * upsampled - 1.0, sigma.view(1))
        velocity = (x - predicted) / sigma.clamp_min(SIGMA_FLOOR)
        x = scheduler.step(velocity, timestep, x, return_dict=False)[0]
    restored: NDArray[np.uint8] = to_8bit(upsampled + flow.config.residual_std * x)[0]
    return restored


def measure(root: Path, folder: Path | None, count: int, peer_count: int, steps: int, rounds: int) -> list[Comparison]:
    """`count` candidates of `steps` Euler steps; the peers make `peer_count` of them, which suffices for a rate."""
    flow = model.backbone(folder, steps)
    _, lr, _ = model.group(root, 1)
    ours = Contender(
        "batched over seeds",
        count,
        lambda: sample_candidates(flow, lr, "", LR_ID, range(count), count, "none"),
    )
    stock = flow.reference
    innermost = copy.deepcopy(stock).to(memory_format=torch.channels_last)
    peers = [
        Contender(name, peer_count, partial(_loop, flow, network, lr, peer_count))
        for name, network in (("pipeline call a seed", stock), ("the same, in our layout", innermost))
    ]
    laps = interleaved([ours, *peers], rounds)
    targets = (TARGET, None)
    return [
        compare(f"generate, M = {count}", "candidates/s", laps, ours, peer, target)
        for peer, target in zip(peers, targets, strict=True)
    ]


def _loop(flow: TinyFlow, network: nn.Module, lr: Tensor, count: int) -> list[NDArray[np.uint8]]:
    return [pipeline_call(flow, network, lr, index) for index in range(count)]
