"""What a training step is made of: a source of batches, and their loss. The trainer knows no more of a method."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from components.backbones.base import Backbone


@dataclass(frozen=True)
class BatchLoss:
    """What a batch adds to its step.

    Attributes:
        loss: scalar with a gradient; the step's loss is the sum over the batches of all processes.
        sums: what the log is made of, `[R, S]` float64, detached: summed over its rows, over the step's batches and
            over processes, in this order, so that the log does not depend on how a step is divided.
    """

    loss: Tensor
    sums: Tensor


Batch = TypeVar("Batch")


class OfStepAlone:
    """Of sources that have no state."""

    def state(self) -> dict[str, Tensor]:
        return {}

    def load(self, state: dict[str, Tensor]) -> None:
        pass


class Batches(Protocol[Batch]):
    """A source of training batches.

    What it gives is a function of the step and of its state alone, so that a resumed run sees what an undisturbed one
    sees.
    """

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it, on the CPU; empty where the step says all."""

    def load(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state` gave; the backbone's policy is on its device."""

    def of_step(self, step: int) -> Sequence[Batch]:
        """This process's batches of optimiser step `step` (from 0), as many as every other process has, at least one.

        Each is a forward and a backward pass.
        """

    def loss(self, backbone: Backbone, batch: Batch) -> BatchLoss:
        """The batch's part of the step's loss."""

    def row(self, sums: Sequence[float]) -> dict[str, float]:
        """What the log says of a step, from its sums `[S]`: `loss`, `images` (that the policy saw), and more."""


@dataclass(frozen=True)
class Later(Generic[Batch]):
    """Batches of a source from a later step on, as a round after others sees them.

    Attributes:
        batches: the source.
        steps: that the rounds before took.
    """

    batches: Batches[Batch]
    steps: int

    def state(self) -> dict[str, Tensor]:
        """See `Batches`."""
        return self.batches.state()

    def load(self, state: dict[str, Tensor]) -> None:
        """See `Batches`."""
        self.batches.load(state)

    def of_step(self, step: int) -> Sequence[Batch]:
        """See `Batches`."""
        return self.batches.of_step(step + self.steps)

    def loss(self, backbone: Backbone, batch: Batch) -> BatchLoss:
        """See `Batches`."""
        return self.batches.loss(backbone, batch)

    def row(self, sums: Sequence[float]) -> dict[str, float]:
        """See `Batches`."""
        return self.batches.row(sums)
