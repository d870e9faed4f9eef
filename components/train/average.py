"""Weights of a policy that are kept beside it: a moving average over the steps, or a policy of some steps before.

Single steps of a clipped gradient jump about an optimum; their average lies closer to it (Polyak and Juditsky, 1992).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from components.train.processes import trainable


class Kept:
    """Values of a policy's trainable parameters, by name; `kept` may be empty."""

    def __init__(self, kept: dict[str, Tensor]) -> None:
        self._kept = kept

    @classmethod
    def of(cls, policy: nn.Module) -> "Kept":
        """A policy as it is now."""
        return cls({name: value.detach().clone() for name, value in trainable(policy).items()})

    @torch.no_grad()
    def move_to(self, policy: nn.Module, share: float) -> None:
        """Go the share of the way to a policy: 1 is all of it, bit for bit."""
        for name, kept in self._kept.items():
            value = trainable(policy)[name].detach()
            kept.copy_(value) if share == 1.0 else kept.lerp_(value, share)

    @contextmanager
    def in_place(self, policy: nn.Module) -> Iterator[None]:
        """While it lasts the policy has the kept weights."""
        parameters = trainable(policy)
        own = {name: parameters[name].detach().clone() for name in self._kept}
        _copy(self._kept, parameters)
        try:
            yield
        finally:
            _copy(own, parameters)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, on the CPU."""
        return {name: kept.cpu().clone() for name, kept in self._kept.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state` gave."""
        _copy(state, self._kept)


class Average(Kept):
    """Exponential moving average of a policy's trainable parameters; `decay` 0 is the policy itself, at no cost."""

    def __init__(self, policy: nn.Module, decay: float) -> None:
        super().__init__({} if decay == 0.0 else Kept.of(policy)._kept)
        self._decay = decay

    def update(self, policy: nn.Module, step: int) -> None:
        """Take in the policy after optimiser step `step` (from 1); early averages forget the start sooner."""
        self.move_to(policy, 1.0 - min(self._decay, step / (step + 9.0)))


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor] | dict[str, nn.Parameter]) -> None:
    for name, value in source.items():
        target[name].copy_(value)
