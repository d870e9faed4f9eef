"""Sizes and costs of the pixel-space families: the reference is a copy of the policy, a restorer runs once an LR."""

from collections.abc import Callable
from dataclasses import dataclass
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
from components.settings import PixelFlowSettings, RestorerFlowSettings, TinyFlowSettings


@dataclass(frozen=True)
class _Kind:
    """What differs between the families.

    Attributes:
        make: the branch.
        channels: of its context.
        side: of the latents that it works on, px.
        parts: what else is in memory.
        condition: what an LR costs once.
        decode: what a candidate costs beside the branch's passes.
    """

    make: Callable[[], nn.Module]
    channels: int
    side: int
    parts: tuple[Part, ...] = ()
    condition: tuple[Work, ...] = ()
    decode: tuple[Work, ...] = ()


def measure_tiny(settings: TinyFlowSettings, root: Path, shape: Shape) -> Figures:
    """Figures at `shape`.

    Raises:
        BadInput: the model's folder has no readable configuration.
    """
    config = tiny_flow.read_config(root / settings.path)
    return _measure(_Kind(lambda: tiny_flow.ResidualUNet(config), 3, shape.side), settings, shape)


def measure_restorer(settings: RestorerFlowSettings, root: Path, shape: Shape) -> Figures:
    """Figures at `shape`.

    Raises:
        BadInput: the model's folder has no readable configuration, or its restorer is not there.
    """
    config = restorer_flow.read_config(root / settings.path, settings.restorer, restorer_flow.look_of(settings))
    loaded = load_restorer(config.restorer, root, torch.device("cpu"))
    restorer = loaded.network.to(META)
    lr = empty(1, 3, shape.side // config.scale, shape.side // config.scale)
    with torch.no_grad():
        again = once = flop(lambda: restorer(lr))
        if blocks := config.second_look and config.second_look_blocks:
            seen = loaded.look(lr, blocks)
            again = flop(lambda: loaded.look_again(lr, seen.features, seen.state, blocks, 1.0))
    kind = _Kind(
        lambda: StochasticBranch(config.channels, config.blocks, config.embedding),
        CONTEXT,
        shape.side // config.detail,
        (networks.part("restorer", restorer, "float32"),),
        (Work("restorer", once),),
        (Work("restorer, second look", again),) if config.second_look else (),
    )
    return _measure(kind, settings, shape)


def _measure(kind: _Kind, settings: PixelFlowSettings, shape: Shape) -> Figures:
    policy = networks.build(kind.make).requires_grad_(True)
    reference = networks.build(kind.make)

    def predict(network: nn.Module, rows: int) -> Tensor:
        noisy, context = (empty(rows, channels, kind.side, kind.side) for channels in (3, kind.channels))
        predicted: Tensor = network(noisy, context, empty(rows))
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
            *kind.parts,
        ),
        origin=(f"model: {settings.path}",),
        candidate=(Work("UNet", forward, settings.steps, predicts=True), *kind.decode),
        condition=kind.condition,
        row=(
            Work("UNet, policy", forward),
            Work("UNet, reference", forward),
            Work("backward pass of the policy's", flop(lambda: train(1)) - 2 * forward),
        ),
        recomputed=(),
        sampling_bytes=sampling_bytes,
        training_bytes={False: peak_bytes(lambda: train(shape.training_rows), [policy, reference], autocast)},
        latent_numbers=0,
        state_numbers=3 * kind.side**2,
    )
