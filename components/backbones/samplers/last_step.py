"""A sampling of a flow whose last step alone carries a gradient: what a reward of the restoration teaches.

Through all steps it would take the memory of all of them, and Bird-SR (arXiv 2602.07069) takes the last one.
"""

from itertools import islice

import torch
from torch import Tensor

from components.backbones.base import Backbone, Branch, Condition, gradients_of
from components.backbones.samplers.base import moves


def clean_of(x: Tensor, t: Tensor, velocity: Tensor) -> Tensor:
    """x0 = x_t - t v, on a flow's straight path x_t = (1 - t) x0 + t epsilon with v = epsilon - x0.

    Args:
        x: `[B, ...]`.
        t: `[B]`.
        velocity: `[B, ...]`.
    """
    return x - t.view(-1, *[1] * (x.dim() - 1)) * velocity


def restored_with_gradient(backbone: Backbone, condition: Condition, noise: Tensor, branch: Branch) -> Tensor:
    """Images `[B, 3, H, W]` of the backbone's own sampler, colours not fixed; a flow's, whose last step ends at t = 0.

    Args:
        condition: of B rows.
        noise: `[B, *noise_shape]`.
        branch: the reference carries no gradient.
    """
    sampler = backbone.sampler
    with torch.no_grad():
        x = sampler.start(backbone, noise.to(backbone.device, torch.float32))
        times = sampler.schedule(x).times
        for move in islice(moves(sampler, backbone, condition, noise, branch), len(times) - 1):
            x = move.drawn
    t = times[-1].expand(len(x))
    with gradients_of(branch):
        clean = clean_of(x, t, backbone.predict(x, t, condition, branch))
        return backbone.decode(sampler.finish(backbone, clean, condition), condition)
