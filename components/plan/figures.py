"""What is measured of a backbone's networks, whatever its family."""

from collections.abc import Mapping
from dataclasses import dataclass

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Part:
    """A network in memory.

    Attributes:
        trained: how many of its parameters train.
        dtype: what its parameters are stored in.
        on_host: whether it is in host memory, not on the GPU.
    """

    name: str
    parameters: int
    trained: int
    dtype: str
    on_host: bool = False

    @property
    def bytes(self) -> int:
        """Memory of its parameters."""
        return self.parameters * BYTES[self.dtype]


@dataclass(frozen=True)
class Work:
    """A pass through a network: FLOP of one (a multiply-add is two), and how many are made.

    Attributes:
        predicts: whether it is a part of every step's prediction, of which a mixture of branches makes two.
    """

    what: str
    flop: int
    times: int = 1
    predicts: bool = False

    @property
    def total(self) -> int:
        """FLOP of all passes."""
        return self.flop * self.times


@dataclass(frozen=True)
class Shape:
    """What the networks are run on.

    Attributes:
        side: of the output image, px.
        sampling_rows: candidates of one sampling call.
        training_rows: candidates of one forward and backward pass.
        precision: of the training's autocast; None for float32.
    """

    side: int
    sampling_rows: int
    training_rows: int
    precision: str | None


@dataclass(frozen=True)
class Figures:
    """Sizes and costs at one `Shape`.

    Attributes:
        parts: all networks that a stage holds in memory.
        origin: where the architecture was read.
        candidate: passes of one candidate.
        condition: passes of one LR image, once.
        row: passes of one candidate in training, policy and reference; recomputation not among them.
        recomputed: passes that gradient checkpointing adds to `row`.
        sampling_bytes: peak of one sampling call, without weights.
        training_bytes: peak of one forward and backward pass without weights, gradients and optimiser state, by
            whether gradients are checkpointed; no entry where the family cannot.
        latent_numbers: float32 values stored a candidate; 0 where the image is the latent.
        shared: passes of `row` that policy and reference share, which train.safeguard makes twice.
        state_numbers: float32 values of a sampling's state; 0 for those of `latent_numbers`.
    """

    parts: tuple[Part, ...]
    origin: tuple[str, ...]
    candidate: tuple[Work, ...]
    condition: tuple[Work, ...]
    row: tuple[Work, ...]
    recomputed: tuple[Work, ...]
    sampling_bytes: int
    training_bytes: Mapping[bool, int]
    latent_numbers: int
    shared: tuple[Work, ...] = ()
    state_numbers: int = 0

    @property
    def state_bytes(self) -> int:
        """Of one state of a sampling."""
        return 4 * (self.state_numbers or self.latent_numbers)

    @property
    def prediction(self) -> int:
        """FLOP of one prediction, without guidance's second."""
        return sum(work.flop for work in self.candidate if work.predicts)

    @property
    def trained(self) -> int:
        """Parameters that train."""
        return sum(part.trained for part in self.parts)


def total(works: tuple[Work, ...]) -> int:
    """FLOP of all."""
    return sum(work.total for work in works)
