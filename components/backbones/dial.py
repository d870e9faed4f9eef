"""A dial on a policy: one model that is told how much fidelity and how much realism is wanted.

The preference w = (1 - p, p), p in [0, 1] the share of realism, goes through two layers whose output is added to the
noise level's embedding (PPD, arXiv 2501.06655, as told by others; that it is the two sides of a super-resolution
reward is ours). The second layer starts at 0, so that a dial changes nothing before it is trained. Where no preference
is told nothing is added. The reference is never told one.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.backbones.base import Condition
from components.errors import BadInput
from components.storage.digests import seed_of

PREFERENCE = "preference"
"""Name of a condition's encoding: p of each row `[B]`; not a number where a row is told none."""


class Dial(nn.Module):
    """Preferences `[B]` to what is added to an embedding, `[B, width]`; 0 for a row without one.

    Its first layer is the same for every model of a width: a start that is drawn anew could not be resumed.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, width), nn.Linear(width, width)
        generator = torch.Generator("cpu").manual_seed(seed_of("dial", width))
        with torch.no_grad():
            if not self.first.weight.is_meta:
                self.first.weight.copy_(torch.randn(self.first.weight.shape, generator=generator))
            self.first.bias.zero_()
            self.second.weight.zero_()
            self.second.bias.zero_()

    def forward(self, preference: Tensor) -> Tensor:
        """See the class."""
        told = ~preference.isnan()
        share = preference.nan_to_num(0.5)
        embedded: Tensor = self.second(F.silu(self.first(torch.stack([1.0 - share, share], dim=1))))
        return embedded * told[:, None]


def no_dial() -> BadInput:
    """Why a family that trains a ControlNet refuses a dial."""
    return BadInput(
        "pair.dial is for this project's own models, and a ControlNet has no place for a dial: set it to []"
    )


class DialledNetwork(nn.Module):
    """A network that can be given a dial: called with a preference `[B]` after its other inputs, or without."""

    def __init__(self) -> None:
        super().__init__()
        self.dial: Dial | None = None

    @property
    def embedding_width(self) -> int:
        """Of the noise level's embedding."""
        raise NotImplementedError

    def add_dial(self) -> None:
        """Give it one that changes nothing yet; one that it has stays as it is."""
        if self.dial is None:
            self.dial = Dial(self.embedding_width).to(next(self.parameters()).device)

    def told(self, embedded: Tensor, preference: Tensor | None) -> Tensor:
        """An embedding `[B, width]` with what the dial adds to it; without a preference it is left alone."""
        if preference is None:
            return embedded
        if self.dial is None:
            raise LookupError("a preference is told to a network without a dial")
        added: Tensor = self.dial(preference)
        return embedded + added


def preferring(condition: Condition, preference: Tensor | float) -> Condition:
    """The condition with a preference of each row `[B]`, or one for all."""
    rows = condition.upsampled.new_ones(len(condition.prompts)) * preference
    return replace(condition, encodings={**condition.encodings, PREFERENCE: rows})
