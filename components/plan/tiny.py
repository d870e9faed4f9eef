"""Sizes and costs of `tiny_flow`: all of it is the policy, and the reference is a second copy."""

from pathlib import Path

import torch
from torch import Tensor

from components.backbones.tiny_flow import ResidualUNet, read_config
from components.plan import networks
from components.plan.counting import flop, peak_bytes
from components.plan.figures import Figures, Shape, Work
from components.plan.networks import empty
from components.settings import TinyFlowSettings


def measure(settings: TinyFlowSettings, root: Path, shape: Shape) -> Figures:
    """Figures at `shape`.

    Raises:
        BadInput: the model's folder has no readable configuration.
    """
    config = read_config(root / settings.path)
    policy = networks.build(lambda: ResidualUNet(config)).requires_grad_(True)
    reference = networks.build(lambda: ResidualUNet(config))

    def predict(network: ResidualUNet, rows: int) -> Tensor:
        image = empty(rows, 3, shape.side, shape.side)
        predicted: Tensor = network(image, image, empty(rows))
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
        parts=(networks.part("UNet", policy, "float32"), networks.part("UNet, reference", reference, "float32")),
        origin=(f"model: {settings.path}",),
        candidate=(Work("UNet", forward, settings.steps),),
        condition=(),
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
