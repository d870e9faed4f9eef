"""Sizes and costs of the pixel-space families: the reference is a copy of the policy, a restorer runs once an LR."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from components.backbones import restorer_flow, tiny_flow
from components.backbones.restorers.restorer import load_restorer
from components.backbones.stochastic_branch import CONTEXT, StochasticBranch
from components.plan import networks
from components.plan.counting import META, flop, peak_bytes
from components.plan.figures import Figures, Part, Shape, Work
from components.plan.networks import empty
from components.settings import RestorerFlowSettings, TinyFlowSettings

Settings = TinyFlowSettings | RestorerFlowSettings


def measure(settings: Settings, root: Path, shape: Shape) -> Figures:
    """Figures at `shape`.

    Raises:
        BadInput: the model's folder has no readable configuration, or its restorer is not there.
    """
    make, channels, parts, condition = _family(settings, root, shape)
    policy = networks.build(make).requires_grad_(True)
    reference = networks.build(make)

    def predict(network: nn.Module, rows: int) -> Tensor:
        picture = empty(rows, 3, shape.side, shape.side)
        predicted: Tensor = network(picture, empty(rows, channels, shape.side, shape.side), empty(rows))
        return predicted

    def train(rows: int) -> None:
        with torch.no_grad():
            predict(reference, rows)
        torch.autograd.backward(predict(policy, rows).square().mean())

    with torch.no_grad():
        forward = flop(lambda: predict(reference, 1))
        sampling_bytes = peak_bytes(lambda: predict(reference, shape.sampling_rows), [reference])
    autocast = None if shape.precision is None else getattr(torch, shape.precision)
    return Figures(
        parts=(
            networks.part("UNet", policy, "float32"),
            networks.part("UNet, reference", reference, "float32"),
            *parts,
        ),
        origin=(f"model: {settings.path}",),
        candidate=(Work("UNet", forward, settings.steps),),
        condition=condition,
        row=(
            Work("UNet, policy", forward),
            Work("UNet, reference", forward),
            Work("backward pass of the policy's", flop(lambda: train(1)) - 2 * forward),
        ),
        recomputed=(),
        sampling_bytes=sampling_bytes,
        training_bytes={False: peak_bytes(lambda: train(shape.training_rows), [policy, reference], autocast)},
        latent_numbers=0,
    )


def _family(
    settings: Settings, root: Path, shape: Shape
) -> tuple[Callable[[], nn.Module], int, tuple[Part, ...], tuple[Work, ...]]:
    """The branch, the channels of its context, what else is in memory, and what an LR costs once."""
    folder = root / settings.path
    if isinstance(settings, TinyFlowSettings):
        tiny = tiny_flow.read_config(folder)
        return lambda: tiny_flow.ResidualUNet(tiny), 3, (), ()
    config = restorer_flow.read_config(folder, settings.restorer)
    restorer = load_restorer(config.restorer, root, torch.device("cpu")).network.to(META)
    side = shape.side // config.scale
    with torch.no_grad():
        once = flop(lambda: restorer(empty(1, 3, side, side)))
    return (
        lambda: StochasticBranch(config.channels, config.blocks, config.embedding),
        CONTEXT,
        (networks.part("restorer", restorer, "float32"),),
        (Work("restorer", once),),
    )
