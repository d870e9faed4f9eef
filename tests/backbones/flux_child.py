"""One process of an FSDP2 step on FLUX's policy: `torchrun … -m tests.backbones.flux_child base control output`."""

import sys
from pathlib import Path

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from components.backbones.base import Condition
from components.backbones.flux_controlnet import FluxControlNet
from components.backbones.restore import sample
from tests.backbones.tiny_flux import flux_settings


def batch(model: FluxControlNet, row: int) -> tuple[torch.Tensor, Condition, torch.Tensor, torch.Tensor]:
    """Row `row` of a made batch: latents, condition, t, noise."""
    generator = torch.manual_seed(row)
    condition = model.condition(torch.rand(1, 3, 8, 8, generator=generator), ("a cat",))
    latents, noise = (torch.randn(1, *model.latent_shape(32, 32), generator=generator) for _ in range(2))
    return latents, condition, torch.tensor([0.3 + 0.4 * row]), noise


def load(base: Path, control: Path) -> FluxControlNet:
    """A backbone whose policy is not its reference."""
    settings = flux_settings(base, control, gradient_checkpointing=True)
    model = FluxControlNet.load(control, settings, torch.device("cpu"))
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def gradients(model: FluxControlNet) -> dict[str, torch.Tensor]:
    """Whole gradients by name; all processes must ask together."""
    found = {}
    for name, parameter in model.policy.named_parameters():
        if parameter.grad is not None:
            grad = parameter.grad
            found[name] = grad.full_tensor() if isinstance(grad, DTensor) else grad
    return found


def main(base: Path, control: Path, output: Path) -> None:
    """Errors and sample of this process's row, and the mean gradient over the processes, in a file."""
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    model = load(base, control)
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    for block in model.policy.transformer_blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model.policy, mesh=mesh)
    latents, condition, t, noise = batch(model, rank)
    policy, reference = model.errors(latents, condition, t, noise)
    policy.sum().backward()
    # Gradients first: after a forward pass without one the outermost parameters stay whole and have none.
    found = {"policy": policy.detach(), "reference": reference, "gradients": gradients(model)}
    found["image"] = sample(model, condition, noise).images
    torch.save(found, output / f"{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
