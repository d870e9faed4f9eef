"""Costs that all ControlNets on a flow transformer share: two whole passes a row, with nothing but encodings common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from components.backbones.base import Branch
from components.backbones.controlnet.control_branch import network_of
from components.plan.counting import flop, peak_bytes, recomputing
from components.plan.figures import Shape, Work


@dataclass(frozen=True)
class FlowPasses:
    """The networks, and what a family gives them.

    Attributes:
        control: the branch that trains.
        reference: its frozen copy; None where it is the branch without its adapter.
        lead: residuals of a control branch for so many rows.
        predict: the transformer's velocity for so many rows, with residuals.
    """

    transformer: Any
    control: Any
    reference: nn.Module | None
    lead: Callable[[Any, int], Any]
    predict: Callable[[int, Any], Tensor]

    def residuals(self, branch: Branch, rows: int) -> Any:
        """Of the policy or the reference."""
        with network_of(branch, self.control, self.reference) as network:
            return self.lead(network, rows)

    def whole(self, branch: Branch, rows: int) -> Tensor:
        """Control branch and transformer."""
        return self.predict(rows, self.residuals(branch, rows))

    @property
    def modules(self) -> Sequence[nn.Module]:
        """All networks."""
        return [self.transformer, self.control, *([] if self.reference is None else [self.reference])]


@dataclass(frozen=True)
class FlowCosts:
    """Of a candidate's denoising, a training row, and the peaks; see `figures.Figures`."""

    denoise: tuple[Work, ...]
    row: tuple[Work, ...]
    recomputed: tuple[Work, ...]
    denoise_bytes: int
    training_bytes: dict[bool, int]


def flow_costs(passes: FlowPasses, shape: Shape, dtype: str, steps: int, guided: bool) -> FlowCosts:
    """Costs at `shape`; `guided` doubles the evaluations of each of the `steps`."""
    with torch.no_grad():
        residuals = passes.residuals("policy", 1)
        velocity = flop(lambda: passes.predict(1, residuals))
        policy = flop(lambda: passes.residuals("policy", 1))
        reference = flop(lambda: passes.residuals("reference", 1))
    both = flop(lambda: torch.autograd.backward(passes.whole("policy", 1).mean()))
    evaluations = 2 if guided else 1
    autocast = None if dtype == "float32" else getattr(torch, dtype)
    with torch.no_grad():
        denoise_bytes = peak_bytes(
            lambda: passes.whole("reference", shape.sampling_rows * evaluations), passes.modules, autocast
        )
    return FlowCosts(
        (
            Work("transformer", velocity, steps * evaluations, predicts=True),
            Work("ControlNet", reference, steps * evaluations, predicts=True),
        ),
        (
            Work("ControlNet and transformer, policy", policy + velocity),
            Work("the same, reference", reference + velocity),
            Work("backward pass of the policy's", both - policy - velocity),
        ),
        (Work("recomputed in the backward pass", policy + velocity),),
        denoise_bytes,
        {on: _training_bytes(passes, shape, on) for on in (False, True)},
    )


def _training_bytes(passes: FlowPasses, shape: Shape, checkpointing: bool) -> int:
    """Peak of one forward and backward pass of the policy, after one of the reference."""
    autocast = None if shape.precision is None else getattr(torch, shape.precision)
    for network in (passes.transformer, passes.control):
        if checkpointing:
            network.enable_gradient_checkpointing(recomputing(autocast))
        else:
            network.disable_gradient_checkpointing()

    def run() -> None:
        with torch.no_grad():
            passes.whole("reference", shape.training_rows)
        torch.autograd.backward(passes.whole("policy", shape.training_rows).square().mean())

    return peak_bytes(run, passes.modules, autocast)
