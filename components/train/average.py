"""A moving average of the policy over the steps: what is validated, saved and published in its place.

Single steps of a clipped gradient jump about an optimum; their average lies closer to it (Polyak and Juditsky, 1992).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from components.train.processes import trainable


class Average:
    """Exponential moving average of a policy's trainable parameters; `decay` 0 is the policy itself, at no cost."""

    def __init__(self, policy: nn.Module, decay: float) -> None:
        self._decay = decay
        self._kept = {} if decay == 0.0 else {name: value.detach().clone() for name, value in trainable(policy).items()}

    @torch.no_grad()
    def update(self, policy: nn.Module, step: int) -> None:
        """Take in the policy after optimiser step `step` (from 1); early averages forget the start sooner."""
        decay = min(self._decay, step / (step + 9.0))
        for name, kept in self._kept.items():
            kept.lerp_(trainable(policy)[name].detach(), 1.0 - decay)

    @contextmanager
    def in_place(self, policy: nn.Module) -> Iterator[None]:
        """While it lasts the policy has the averaged weights."""
        parameters = trainable(policy)
        own = {name: parameters[name].detach().clone() for name in self._kept}
        _copy(self._kept, parameters)
        try:
            yield
        finally:
            _copy(own, parameters)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, on the CPU; empty where there is no average."""
        return {name: kept.cpu().clone() for name, kept in self._kept.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state` gave."""
        _copy(state, self._kept)


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor] | dict[str, nn.Parameter]) -> None:
    for name, value in source.items():
        target[name].copy_(value)
