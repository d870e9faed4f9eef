"""ControlNet on Stable Diffusion 1.x or 2.x: the paper's C-SD2, with stock diffusers modules.

The control branch sees the upsampled LR as pixels in [0, 1]. Sampling is DDPM with classifier-free guidance; the noise
of x_T and of every step is given. Only the control branch trains, all of it or an adapter on it.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from components.backbones.base import Branch, Condition, Predictor, gradients_of
from components.backbones.controlnet import control_branch, vae
from components.backbones.controlnet.clip_text import ClipText
from components.backbones.controlnet.sd2_parts import read_parts
from components.backbones.controlnet.split_unet import Features, SplitUNet
from components.backbones.dial import no_dial
from components.backbones.samplers.ddpm import DDPM, NoiseLevels
from components.backbones.states import state_digest
from components.backbones.upsampling import upsample
from components.settings import SD2ControlNetSettings
from components.storage import digests

COMPILE_BACKEND = "inductor"


class SD2ControlNet:
    """The backbone; see the module's docstring. `load` makes it from folders.

    What is predicted is epsilon or v, as the base was trained.

    Args:
        unet, vae_model, text: frozen parts, in evaluation mode, on `device`, in `settings.dtype`.
        control: the control branch, float32; becomes the policy.
        levels: noise levels of the base.
        settings: of the backbone block.
        device: where it runs.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae_model: AutoencoderKL,
        text: ClipText,
        control: ControlNetModel,
        levels: NoiseLevels,
        settings: SD2ControlNetSettings,
        device: torch.device,
    ) -> None:
        self.settings = settings
        self.device = device
        self.dtype: torch.dtype = getattr(torch, settings.dtype)
        self.text = text
        self.vae = vae_model.to(device)
        self.levels = levels
        self.reference = control_branch.make_trainable(control, settings.lora_rank)
        self.policy: nn.Module = control
        self.multiple = vae.downsampling(vae_model)
        networks: list[Any] = [unet, control] if self.reference is None else [unet, control, self.reference]
        for network in networks:
            network.to(device)
            if settings.channels_last:
                network.to(memory_format=torch.channels_last)
            if settings.gradient_checkpointing:
                network.enable_gradient_checkpointing()
        if settings.channels_last:
            self.vae.to(memory_format=torch.channels_last)
        if settings.vae_tiling:
            self.vae.enable_tiling()
        if settings.compile:
            for network in networks[1:]:
                network.compile(backend=COMPILE_BACKEND)
        self.unet = SplitUNet(unet, COMPILE_BACKEND if settings.compile else None)

    @classmethod
    def load(cls, folder: Path, settings: SD2ControlNetSettings, device: torch.device) -> "SD2ControlNet":
        """Base pipeline of `settings.base` with the ControlNet at `folder`: policy, and frozen reference.

        Raises:
            BadInput: as `read_parts`.
        """
        parts = read_parts(folder, settings, device)
        return cls(parts.unet, parts.vae, parts.text, parts.control, parts.levels, settings, device)

    stores_latents = True

    @property
    def sampler(self) -> DDPM:
        return DDPM(self.levels, self.settings.steps, self._sampler_digest())

    @property
    def scale(self) -> int:
        return self.settings.scale

    @property
    def sample_block(self) -> int:
        return self.settings.sample_block

    def load_policy(self, folder: Path) -> None:
        """Replace the policy's weights by those of a saved folder; the reference stays.

        Raises:
            BadInput: the folder lacks its files, or they are of another ControlNet or adapter.
        """
        control_branch.load(self.policy, folder)

    @property
    def has_dial(self) -> bool:
        return False

    def add_dial(self) -> None:
        raise no_dial()

    def noise_shape(self, height: int, width: int) -> tuple[int, ...]:
        return self.sampler.noise_shape(self.latent_shape(height, width))

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """(C, h, w); sides that the VAE's down-sampling does not divide are padded, so they are rounded up."""
        channels: int = self.vae.config.latent_channels
        return (channels, -(-height // self.multiple), -(-width // self.multiple))

    def condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        upsampled = upsample(lr, self.scale, self.settings.max_lr_pixels).to(self.device)
        return Condition(upsampled, prompts, {"text": self.text.encode(prompts)})

    def encode(self, images: Tensor) -> Tensor:
        return vae.encode(self.vae, vae.pad_to_multiple(images.to(self.device), self.multiple))

    def decode(self, latents: Tensor, condition: Condition) -> Tensor:
        height, width = condition.upsampled.shape[-2:]
        return vae.decode(self.vae, latents)[..., :height, :width]

    def noised(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        level = self.levels.level(t)
        return self.levels.noisy(latents, noise, level), self.levels.target(latents, noise, level)

    def predict(self, x: Tensor, t: Tensor, condition: Condition, branch: Branch) -> Tensor:
        return self._predictions(x, t, condition, (branch,))[0]

    def predictor(self, branch: Branch) -> Predictor:
        policy = control_branch.unwrapped(self.policy)  # not wrapped: validation samples on one process only
        reduced = self.dtype != torch.float32

        def predict(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
            with (
                gradients_of(branch),
                control_branch.network_of(branch, policy, self.reference) as network,
                torch.autocast(self.device.type, self.dtype if reduced else None, enabled=reduced),
            ):
                return self._guided(network, x, t, condition)

        return predict

    def error(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor, branch: Branch) -> Tensor:
        return self._errors(latents, condition, t, noise, (branch,))[0]

    def errors(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Both branches on one pass through the frozen down blocks and middle; only the up path runs twice."""
        reference, policy = self._errors(latents, condition, t, noise, ("reference", "policy"))
        return policy, reference

    def digest(self, branch: Branch) -> str:
        return digests.of_json([self._frozen_digest, control_branch.digest_of(branch, self.policy, self.reference)])

    def save(self, folder: Path) -> None:
        control_branch.save(self.policy, folder)

    def _sampler_digest(self) -> str:
        settings = self.settings.model_dump(
            mode="json", include={"scale", "steps", "guidance_scale", "negative_prompt", "conditioning_scale", "dtype"}
        )
        tiling = self.settings.vae_tiling  # blends tiles, so it changes pixels of large images
        return digests.of_json(["DDPM", self.levels.config, settings, tiling])

    @cached_property
    def _frozen_digest(self) -> str:
        parts = (self.unet.unet, self.vae, self.text.encoder)
        return digests.of_json([state_digest(part.state_dict()) for part in parts])

    def _errors(
        self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor, branches: Sequence[Branch]
    ) -> list[Tensor]:
        noisy, target = self.noised(latents, condition, t, noise)
        predictions = self._predictions(noisy, t, condition, branches)
        return [(predicted - target).square().mean(dim=(1, 2, 3)) for predicted in predictions]

    def _predictions(self, x: Tensor, t: Tensor, condition: Condition, branches: Sequence[Branch]) -> list[Tensor]:
        levels, text, image = self.levels.level(t), condition.encodings["text"], self._control_image(condition)
        features = self.unet.down(x, levels, text)
        predictions = []
        for branch in branches:
            with control_branch.network_of(branch, self.policy, self.reference) as network, gradients_of(branch):
                predictions.append(self._predict(network, features, x, levels, text, image))
        return predictions

    def _guided(self, network: nn.Module, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The prediction led away from the negative prompt's, where guidance is on."""
        levels, text, image = self.levels.level(t), condition.encodings["text"], self._control_image(condition)
        guided = self.settings.guidance_scale > 1.0
        if guided:
            negative = self.text.encode((self.settings.negative_prompt,)).expand_as(text)
            text = torch.cat([negative, text])
            image, x, levels = (torch.cat([rows, rows]) for rows in (image, x, levels))
        predicted = self._predict(network, self.unet.down(x, levels, text), x, levels, text, image)
        if not guided:
            return predicted
        unconditional, conditional = predicted.chunk(2)
        return unconditional + self.settings.guidance_scale * (conditional - unconditional)

    def _predict(
        self, network: nn.Module, features: Features, noisy: Tensor, levels: Tensor, text: Tensor, image: Tensor
    ) -> Tensor:
        """Prediction `[B, C, h, w]`, float32, with the residuals of a control branch."""
        down, middle = network(
            noisy,
            levels,
            encoder_hidden_states=text,
            controlnet_cond=image,
            conditioning_scale=self.settings.conditioning_scale,
            return_dict=False,
        )
        predicted: Tensor = self.unet.up(features, text, down, middle)
        return predicted.float()

    def _control_image(self, condition: Condition) -> Tensor:
        return vae.pad_to_multiple(condition.upsampled, self.multiple)
