"""Sizes and costs of a family of the user's own: the model is loaded, and what it does on one row is counted.

It runs on the CPU at the size that is planned for, so that a plan costs about one step of a candidate and one of a
training; memory is that of one row, times the rows.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from components.backbones.base import Backbone, Condition
from components.backbones.loading import load_model
from components.plan import networks
from components.plan.counting import LiveBytes
from components.plan.figures import BYTES, Figures, Part, Shape, Work
from components.settings import BackboneSettings

T = 0.5


def measure(settings: BackboneSettings, root: Path, shape: Shape) -> Figures:
    """Figures at `shape`.

    Raises:
        BadInput: the model's folder cannot be read.
    """
    located = settings.located(root)
    model = load_model(located.path, located, torch.device("cpu"))
    side = shape.side // model.scale
    lr = torch.rand(1, 3, side, side, generator=torch.Generator("cpu").manual_seed(0))
    with torch.no_grad():
        encoding, _ = _counted(lambda: model.condition(lr, ("",)))
        condition = model.condition(lr, ("",))
        candidate, sampling_bytes = _candidate(model, condition, shape.side)
    row, training_bytes = _row(model, condition, shape)
    latent = model.latent_shape(shape.side, shape.side)
    return Figures(
        parts=tuple(_parts(model)),
        origin=(f"model: {settings.path}, loaded and counted",),
        candidate=candidate,
        condition=(Work("condition", encoding),),
        row=row,
        recomputed=(),
        sampling_bytes=sampling_bytes * shape.sampling_rows,
        training_bytes={False: training_bytes * shape.training_rows},
        latent_numbers=int(torch.Size(latent).numel()) if model.stores_latents else 0,
    )


def _candidate(model: Backbone, condition: Condition, side: int) -> tuple[tuple[Work, ...], int]:
    """Passes of one candidate, and the peak of one row's sampling call."""
    noise = torch.zeros(1, *model.noise_shape(side, side))
    x = model.sampler.start(model, noise)
    times = model.sampler.schedule(x).times
    predict = model.predictor("reference")
    step, sampling_bytes = _counted(lambda: predict(x, times[:1].to(x.device), condition))
    decode, decode_bytes = _counted(lambda: model.decode(model.sampler.finish(model, x, condition), condition))
    works = (Work("prediction", step, len(times), predicts=True), Work("decode", decode))
    return works, max(sampling_bytes, decode_bytes)


def _row(model: Backbone, condition: Condition, shape: Shape) -> tuple[tuple[Work, ...], int]:
    """Passes of one row in training, and its peak."""
    latents = torch.zeros(1, *model.latent_shape(shape.side, shape.side))
    noise, t = torch.ones_like(latents), torch.full((1,), T)
    precision = None if shape.precision is None else getattr(torch, shape.precision)

    def errors(backward: bool) -> None:
        policy, _ = model.errors(latents, condition, t, noise)
        if backward:
            torch.autograd.backward(policy.sum())

    with nullcontext() if precision is None else torch.autocast("cpu", precision):
        forward, _ = _counted(lambda: errors(False))
        both, training_bytes = _counted(lambda: errors(True))
    model.policy.zero_grad(set_to_none=True)
    return (Work("errors of policy and reference", forward), Work("backward pass", both - forward)), training_bytes


def _counted(run: Callable[[], object]) -> tuple[int, int]:
    """Operations of `run`, and the most memory that tensors made in it have at any one time."""
    counter, live = FlopCounterMode(display=False), LiveBytes([])
    # The fused kernels of a CPU have no formula.
    with sdpa_kernel(SDPBackend.MATH), counter, live:
        run()
    return int(counter.get_total_flops()), live.peak


def _parts(model: Backbone) -> list[Part]:
    """All networks that the model holds, each once."""
    found: dict[int, Part] = {}
    for name, network in _networks(vars(model)):
        dtype = next((str(one.dtype).removeprefix("torch.") for one in network.parameters()), "float32")
        found.setdefault(id(network), networks.part(name, network, dtype if dtype in BYTES else "float32"))
    return list(found.values())


def _networks(values: dict[str, Any]) -> list[tuple[str, nn.Module]]:
    """Networks among an object's attributes, and those of dataclasses among them."""
    found: list[tuple[str, nn.Module]] = []
    for name, value in values.items():
        if isinstance(value, nn.Module):
            found.append((name.lstrip("_"), value))
        elif is_dataclass(value) and not isinstance(value, type):
            found += _networks({f"{name}.{field.name}": getattr(value, field.name) for field in fields(value)})
    return found
