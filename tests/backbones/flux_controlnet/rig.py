"""What the tests do with a tiny FLUX."""

import torch
from torch import Tensor

from components.backbones.base import Condition
from components.backbones.flux_controlnet import FluxControlNet

PROMPTS = ("a cat", "dog")


def lr_images(count: int = 2, height: int = 8, width: int = 12) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.manual_seed(3))


def noise_of(model: FluxControlNet, condition: Condition, seed: int = 4) -> Tensor:
    shape = model.noise_shape(*condition.upsampled.shape[-2:])
    return torch.randn(len(condition.prompts), *shape, generator=torch.manual_seed(seed))


def shake(model: FluxControlNet, seed: int = 5) -> None:
    """Move every weight that trains, as training would."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))


def training_batch(model: FluxControlNet) -> tuple[Tensor, Condition, Tensor, Tensor]:
    condition = model.condition(lr_images(), PROMPTS)
    latents = model.encode(torch.rand(condition.upsampled.shape, generator=torch.manual_seed(6)))
    return latents, condition, torch.tensor([0.3, 0.9]), noise_of(model, condition)
