"""Stable Diffusion's x4 upscaler, as StableDiffusionUpscalePipeline has it: the LR is concatenated to the latents.

The VAE makes one latent of scale x scale px, so that latents have the LR's size, and the UNet sees latents and LR side
by side. The LR is noised to a fixed level before that, and the level is the UNet's class label. Sampling is DDPM with
classifier-free guidance. All noise is given, but for that of the LR, which follows from the LR's pixels.

e_theta is that of any diffusion model (docs/method.md, section 5): the error of epsilon or v at a drawn time.

backbone.base is the pipeline's folder in diffusers' format, or hf://owner/name@revision, and backbone.path the folder
of its UNet or of one that was trained here. Only the UNet is saved, and the stock pipeline takes it:

    unet = UNet2DConditionModel.from_pretrained("models/aligned/best")
    StableDiffusionUpscalePipeline.from_pretrained(base, unet=unet)
"""

import copy
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from pydantic import Field
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from components.backbones.base import Branch, Condition, Predictor, candidate_noise, gradients_of
from components.backbones.controlnet import vae
from components.backbones.controlnet.clip_text import ClipText
from components.backbones.controlnet.pretrained import read_config, read_model, read_part
from components.backbones.samplers.ddpm import DDPM, NoiseLevels
from components.backbones.states import state_digest
from components.backbones.upsampling import upsample
from components.errors import BadInput
from components.settings import Count, FamilyBlock
from components.settings.families import Family, Limits
from components.storage import digests
from components.storage.hub import source

PATH, BASE = "backbone.path", "backbone.base"
LR, TEXT = "noisy_lr", "text"
"""Names of a condition's encodings: the noised LR `[B, 3, h, w]` in [-1, 1], and the prompt's embedding."""


class ConcatenatedSettings(FamilyBlock):
    """The block `backbone`; the scale is the VAE's.

    Attributes:
        base: the pipeline.
        noise_level: of the LR, 0 to 350 in the released model; what the UNet is told.
        guidance_scale: of classifier-free guidance; 1 = off.
        negative_prompt: what guidance leads away from.
        max_lr_pixels: larger LR images are refused before any work, px.
    """

    base: Path
    noise_level: Annotated[int, Field(ge=0, le=999)] = 20
    guidance_scale: Annotated[float, Field(ge=1.0)] = 1.0
    negative_prompt: str = ""
    max_lr_pixels: Count = 262_144

    def located(self, root: Path) -> Self:
        return self.model_copy(update={"path": source(self.path, root), "base": source(self.base, root)})

    def stored_scale(self) -> int | None:
        try:
            levels = len(json.loads((self.base / "vae/config.json").read_text())["block_out_channels"])
        except (OSError, ValueError, KeyError, TypeError):  # a model of the hub; or whoever loads it says what is wrong
            return None
        return int(2 ** (levels - 1))

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path, self.base)

    @property
    def base_model(self) -> Path | None:
        return self.base

    @property
    def largest_lr(self) -> int | None:
        return self.max_lr_pixels


class ConcatenatedModel:
    """The backbone.

    Args:
        unet: becomes the policy; the reference is a copy.
        vae_model, text: frozen.
        levels: noise levels of the base.
        low: the scheduler that noises the LR.
    """

    stores_latents = True
    sample_block: int | None = None
    has_dial = False

    def __init__(
        self, unet: UNet2DConditionModel, vae_model: AutoencoderKL, text: ClipText, levels: NoiseLevels, low: Any,
        settings: ConcatenatedSettings, device: torch.device,
    ) -> None:  # fmt: skip
        self.settings, self.device, self.text, self.levels, self.low = settings, device, text, levels, low
        self.policy: nn.Module = unet.float().to(device)
        self.reference = copy.deepcopy(unet).eval().requires_grad_(False)
        self.vae = vae_model.eval().requires_grad_(False).to(device)

    @classmethod
    def load(cls, folder: Path, settings: ConcatenatedSettings, device: torch.device) -> Self:
        """The UNet in `folder`, with all other parts of `settings.base`.

        Raises:
            BadInput: a file is missing or damaged, or the UNet takes no LR beside its latents.
        """
        base = settings.base
        unet = read_model(UNet2DConditionModel, folder, PATH, torch.float32)
        vae_model = read_model(AutoencoderKL, base, BASE, torch.float32, "vae")
        if unet.config.in_channels != vae_model.config.latent_channels + 3 or not unet.config.num_class_embeds:
            raise BadInput(f"{PATH}: {folder} is no UNet of an upscaling model: it takes no LR and no noise level")
        tokenizer = read_part(CLIPTokenizer, base, BASE, "tokenizer")
        encoder = read_part(CLIPTextModel, base, BASE, "text_encoder").eval().requires_grad_(False).to(device)
        levels = NoiseLevels(read_config(DDPMScheduler, base, BASE, "scheduler"), BASE)
        low = read_part(DDPMScheduler, base, BASE, "low_res_scheduler")
        return cls(unet, vae_model, ClipText(tokenizer, encoder), levels, low, settings, device)

    @cached_property
    def sampler(self) -> DDPM:
        include = {"steps", "noise_level", "guidance_scale", "negative_prompt"}
        told = [self.levels.config, dict(self.low.config), self.settings.model_dump(mode="json", include=include)]
        return DDPM(self.levels, self.settings.steps, digests.of_json(told))

    @property
    def scale(self) -> int:
        return vae.downsampling(self.vae)

    def add_dial(self) -> None:
        raise BadInput("pair.dial: this family has no place for a dial: set it to []")

    def noise_shape(self, height: int, width: int) -> tuple[int, ...]:
        return self.sampler.noise_shape(self.latent_shape(height, width))

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        channels: int = self.vae.config.latent_channels
        return (channels, height // self.scale, width // self.scale)

    def condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        upsampled = upsample(lr, self.scale, self.settings.max_lr_pixels).to(self.device)
        noisy = torch.cat([self.noisy_lr(row) for row in lr.split(1)]).to(self.device)
        return Condition(upsampled, prompts, {LR: noisy, TEXT: self.text.encode(prompts)})

    def noisy_lr(self, lr: Tensor) -> Tensor:
        """One LR `[1, 3, h, w]` in [0, 1] at the settings' noise level, in [-1, 1]."""
        noise = candidate_noise(digests.of_bytes(lr.cpu().numpy().tobytes()), 0, tuple(lr.shape))
        noised: Tensor = self.low.add_noise(lr.cpu() * 2.0 - 1.0, noise, torch.tensor([self.settings.noise_level]))
        return noised

    def encode(self, images: Tensor) -> Tensor:
        return vae.encode(self.vae, images.to(self.device))

    def decode(self, latents: Tensor, condition: Condition) -> Tensor:
        return vae.decode(self.vae, latents)

    def noised(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        level = self.levels.level(t)
        return self.levels.noisy(latents, noise, level), self.levels.target(latents, noise, level)

    def predict(self, x: Tensor, t: Tensor, condition: Condition, branch: Branch) -> Tensor:
        with gradients_of(branch):
            return self._predict(branch, x, t, condition.encodings[LR], condition.encodings[TEXT])

    def predictor(self, branch: Branch) -> Predictor:
        def predict(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
            predicted = self.predict(x, t, condition, branch)
            if self.settings.guidance_scale == 1.0:
                return predicted
            lr, text = condition.encodings[LR], condition.encodings[TEXT]
            negative = self.text.encode((self.settings.negative_prompt,)).expand_as(text)
            with gradients_of(branch):
                unconditional = self._predict(branch, x, t, lr, negative)
            return unconditional + self.settings.guidance_scale * (predicted - unconditional)

        return predict

    def error(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor, branch: Branch) -> Tensor:
        noisy, target = self.noised(latents, condition, t, noise)
        return (self.predict(noisy, t, condition, branch) - target).square().mean(dim=(1, 2, 3))

    def errors(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        policy = self.error(latents, condition, t, noise, "policy")
        return policy, self.error(latents, condition, t, noise, "reference")

    def digest(self, branch: Branch) -> str:
        network = self._unwrapped if branch == "policy" else self.reference
        return digests.of_json([self._frozen_digest, state_digest(network.state_dict())])

    def save(self, folder: Path) -> None:
        self._unwrapped.save_pretrained(folder)

    def load_policy(self, folder: Path) -> None:
        unet = read_model(UNet2DConditionModel, folder, PATH, torch.float32)
        try:
            self._unwrapped.load_state_dict(unet.state_dict())
        except RuntimeError as error:
            raise BadInput(f"{folder} is another UNet than that of {PATH}: {error}") from error

    def _predict(self, branch: Branch, x: Tensor, t: Tensor, lr: Tensor, text: Tensor) -> Tensor:
        network = self.policy if branch == "policy" else self.reference
        told = torch.full((len(x),), self.settings.noise_level, device=x.device)
        both = torch.cat([x, lr], dim=1)
        predicted: Tensor = network(both, self.levels.level(t), text, class_labels=told, return_dict=False)[0]
        return predicted.float()

    @property
    def _unwrapped(self) -> Any:
        return getattr(self.policy, "module", self.policy)  # DistributedDataParallel keeps the model there

    @cached_property
    def _frozen_digest(self) -> str:
        return digests.of_json([state_digest(part.state_dict()) for part in (self.vae, self.text.encoder)])


CONCATENATED = Family(
    ConcatenatedModel.load,
    settings=ConcatenatedSettings,
    limits=Limits(prompts=True, stochastic=True, needs_gpu=True, trained_side=512),
)
