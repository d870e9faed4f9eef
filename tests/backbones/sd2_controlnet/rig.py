"""A base with its ControlNet on disk, and what the tests do with them."""

import copy
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, DDPMScheduler, StableDiffusionControlNetPipeline
from torch import Tensor, nn

from components.backbones.base import Condition
from components.backbones.sd2_controlnet import SD2ControlNet
from tests.backbones.tiny_pipelines import sd_settings, write_sd_base, write_sd_control

CPU = torch.device("cpu")


class Folders:
    """A base with its ControlNet, on disk."""

    def __init__(self, root: Path, **base: Any) -> None:
        self.base = write_sd_base(root / "base", **base)
        self.control = write_sd_control(root / "control", self.base)

    def load(self, **changes: Any) -> SD2ControlNet:
        return SD2ControlNet.load(self.control, sd_settings(self.base, self.control, **changes), CPU)

    @cached_property
    def plain(self) -> SD2ControlNet:
        """As the settings have it, loaded once: only for tests that change nothing of it."""
        return self.load()

    def copy(self, root: Path) -> "Folders":
        shutil.copytree(self.base, root / "base")
        shutil.copytree(self.control, root / "control")
        twin = copy.copy(self)
        twin.base, twin.control = root / "base", root / "control"
        return twin


def with_settings(model: SD2ControlNet, **changes: Any) -> SD2ControlNet:
    """The same networks under other settings of the sampler."""
    twin = copy.copy(model)
    twin.settings = model.settings.model_copy(update=changes)
    return twin


def lrs(count: int = 2, height: int = 8, width: int = 8) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.manual_seed(7))


def change(network: nn.Module, seed: int = 5) -> None:
    """Move every trainable weight: a policy that is not its reference any more."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight), alpha=0.05)


def denoising(model: SD2ControlNet, count: int = 2) -> tuple[Tensor, Condition, Tensor, Tensor]:
    """Arguments of `errors` for some candidates of one LR, the first on a high noise level."""
    torch.manual_seed(3)
    shape = (count, *model.latent_shape(32, 32))
    condition = model.condition(lrs(1), ("a photo",)).repeat(count)
    return torch.randn(shape), condition, torch.linspace(0.9, 0.2, count), torch.randn(shape)


def stock_image(folders: Folders, control: Path, upsampled: Tensor, prompts: list[str], **call: Any) -> Tensor:
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(
        folders.base, controlnet=ControlNetModel.from_pretrained(control), safety_checker=None
    )
    pipeline.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    images: Tensor = pipeline(prompts, image=upsampled, output_type="pt", num_inference_steps=3, **call).images
    return images


def noise_as_stock_draws(shape: tuple[int, ...], seeds: tuple[int, ...]) -> Tensor:
    """Noise `[M, steps, C, h, w]` whose draws are those of a generator a candidate, in stock's order."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return torch.stack([torch.cat([torch.randn(1, *shape[1:], generator=one) for _ in range(shape[0])])
                        for one in generators])  # fmt: skip


def plain_error(
    model: SD2ControlNet, control: nn.Module, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor
) -> Tensor:
    """`error` by whole UNets, as any training script has it."""
    levels = (t * 1000).ceil().long() - 1
    alpha = DDPMScheduler.from_config(model.levels.config).alphas_cumprod[levels].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    epsilon = model.levels.config["prediction_type"] == "epsilon"
    target = noise if epsilon else alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    text = condition.encodings["text"]
    down, middle = control(noisy, levels, text, condition.upsampled, 0.8, return_dict=False)
    predicted = model.unet.unet(
        noisy, levels, text, down_block_additional_residuals=down, mid_block_additional_residual=middle
    ).sample
    return (predicted - target).square().mean(dim=(1, 2, 3))
