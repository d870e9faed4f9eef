"""ControlNet on a frozen flow transformer in latent space: what the families of such models have in common.

x_sigma = (1 - sigma) x0 + sigma * epsilon and v = epsilon - x0 (rectified flow, Esser et al., arXiv 2403.03206). The
LR, upsampled and VAE-encoded, goes to the control branch, whose residuals are added inside the transformer after its
blocks. From the first residual on, policy and reference see different activations: they share the encodings of text and
LR and the transformer's weights, not its work.

Latents are `[B, C, h, w]` of a picture padded to whole tokens; a token is 2 x 2 of them. Whatever is predicted in the
padding is cropped from the images.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from components.backbones.base import Branch, Condition, Predictor, gradients_of
from components.backbones.controlnet import control_branch, vae
from components.backbones.controlnet.flow_parts import FlowParts
from components.backbones.dial import no_dial
from components.backbones.samplers.flow_euler import FlowEuler
from components.backbones.states import state_digest
from components.backbones.upsampling import upsample
from components.errors import BadInput
from components.settings import FlowControlNetSettings
from components.storage import digests

COMPILE_BACKEND = "inductor"

TOKEN = 2
"""Side of a token, in latents."""

KEPT = 16
"""Encoded prompts kept; with 512 tokens of T5-XXL 4 MiB each. A fixed prompt is encoded once."""


class FlowControlNet(ABC):
    """The backbone but for what a family's networks take; see the module's docstring for the model.

    With `lora_rank` 0 all of the control branch trains and the reference is a frozen copy of it, float32 like the
    policy, so that both round alike; otherwise an adapter trains and the reference is the branch without it.
    """

    SAMPLER: ClassVar[frozenset[str]] = frozenset({"scale", "steps", "conditioning_scale", "dtype", "vae_tiling"})
    """Settings that change what is sampled."""

    READ: ClassVar["staticmethod[[Path, Any], FlowParts]"]
    """Parts of the ControlNet at a place and of its base."""

    FREEZE: ClassVar["staticmethod[[Any, Any], None]"]
    """Takes from a control branch's training what cannot change the transformer's prediction."""

    BLOCKS: ClassVar[tuple[str, ...]]
    """Lists of the repeated blocks of a transformer or control branch."""

    stores_latents = True
    settings: FlowControlNetSettings

    @classmethod
    def load(cls, folder: Path, settings: Any, device: torch.device) -> Self:
        """Policy and reference from `folder`, see READ; frozen parts from `settings.base`.

        Raises:
            BadInput: a part is missing or damaged, the parts do not fit one another, or the dtype the device.
        """
        if settings.dtype == "float16" and device.type == "cpu":
            raise BadInput("backbone.dtype float16 needs a GPU; on a CPU set it to float32 or bfloat16")
        return cls(cls.READ(folder, settings), settings, device)

    def __init__(self, parts: FlowParts, settings: Any, device: torch.device) -> None:
        self.settings = settings
        self.device = device
        self.transformer = parts.transformer.to(device)
        self.vae = parts.vae.to(device)
        self.scheduler = parts.scheduler
        self.text_device = torch.device("cpu") if settings.text_on_cpu else device
        self.text = parts.text.to(self.text_device)
        self._kept: OrderedDict[str, Mapping[str, Tensor]] = OrderedDict()
        self.encoders = parts.encoders
        control = parts.control.to(device)
        self.reference = control_branch.make_trainable(control, settings.lora_rank)
        type(self).FREEZE(control, self.transformer)
        self.policy: nn.Module = control
        networks = [self.transformer, control] + ([] if self.reference is None else [self.reference])
        if settings.gradient_checkpointing:
            for network in networks[:2]:  # no gradient flows through the reference
                network.enable_gradient_checkpointing()
        if settings.channels_last:
            self.vae.to(memory_format=torch.channels_last)
        if settings.vae_tiling:
            self.vae.enable_tiling()
        if settings.compile:
            for network in networks:
                for block in (block for name in self.BLOCKS for block in getattr(network, name)):
                    block.compile(backend=COMPILE_BACKEND)  # all blocks of a kind share one compilation

    @abstractmethod
    def encode_prompt(self, prompt: str) -> Mapping[str, Tensor]:
        """Encodings of a prompt by name, `[1, ...]`, made on `text_device`; see `encoded`."""

    @abstractmethod
    def control_latents(self, latents: Tensor) -> Tensor:
        """What the control branch sees of the LR, from its scaled latents `[B, C, h, w]`."""

    @staticmethod
    @abstractmethod
    def set_steps(
        scheduler: FlowMatchEulerDiscreteScheduler, steps: int, height: int, width: int, device: torch.device
    ) -> None:
        """Set `steps` steps of a scheduler to those of stock pipelines for `height` x `width` latents."""

    @abstractmethod
    def velocity(
        self, control: nn.Module, latents: Tensor, condition: Condition, t: Tensor, sampling: bool = False
    ) -> Tensor:
        """Predicted epsilon - x0, float32, of `latents` `[B, C, h, w]` at t `[B]`, led by the network `control`.

        `sampling` is as stock pipelines predict: with guidance, and in `control_precision`.
        """

    @property
    def sampler(self) -> FlowEuler:
        sampling = self.settings.model_dump(mode="json", include=set(self.SAMPLER))
        digest = digests.of_json({"scheduler": dict(self.scheduler.config), **sampling})
        return FlowEuler(self.scheduler, self.settings.steps, self.set_steps, digest)

    @property
    def scale(self) -> int:
        return self.settings.scale

    @property
    def sample_block(self) -> int:
        return self.settings.sample_block

    @property
    def multiple(self) -> int:
        """Sides of a picture in whole tokens are multiples of this, px: 16 for a VAE of factor 8."""
        return TOKEN * vae.downsampling(self.vae)

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        tokens = [-(-side // self.multiple) for side in (height, width)]
        return (int(self.vae.config.latent_channels), TOKEN * tokens[0], TOKEN * tokens[1])

    @property
    def has_dial(self) -> bool:
        return False

    def add_dial(self) -> None:
        raise no_dial()

    def noise_shape(self, height: int, width: int) -> tuple[int, ...]:
        return self.sampler.noise_shape(self.latent_shape(height, width))

    @torch.no_grad()
    def condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        """See `Backbone`; prompts go to every text encoder, one by one: a row's bits depend on that row alone.

        Encodings: `control` `[B, C, h, w]`, from the LR's latents, and those of `encode_prompt`.

        Raises:
            BadInput: the LR has more than `max_lr_pixels` px.
        """
        upsampled = upsample(lr, self.scale, self.settings.max_lr_pixels).to(self.device)
        texts = [self.encoded(prompt) for prompt in prompts]
        encodings = {name: torch.cat([text[name] for text in texts]) for name in texts[0]}
        return Condition(upsampled, prompts, {**encodings, "control": self.control_latents(self.encode(upsampled))})

    @torch.no_grad()
    def encoded(self, prompt: str) -> Mapping[str, Tensor]:
        """Encodings of a prompt by name, `[1, ...]`; the most recent prompts are remembered."""
        if prompt not in self._kept:
            with torch.autocast(self.text_device.type, enabled=False):
                made = self.encode_prompt(prompt)
            self._kept[prompt] = {name: encoding.to(self.device) for name, encoding in made.items()}
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(prompt)
        return self._kept[prompt]

    def encode(self, images: Tensor) -> Tensor:
        return vae.encode(self.vae, vae.pad_to_multiple(images.to(self.device), self.multiple))

    def decode(self, latents: Tensor, condition: Condition) -> Tensor:
        height, width = condition.upsampled.shape[-2:]
        return vae.decode(self.vae, latents)[..., :height, :width]

    def noised(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        level = t.view(-1, 1, 1, 1)
        return (1.0 - level) * latents + level * noise, noise - latents

    def predict(self, x: Tensor, t: Tensor, condition: Condition, branch: Branch) -> Tensor:
        with (
            control_branch.network_of(branch, self.policy, self.reference) as control,
            gradients_of(branch),
        ):
            return self.velocity(control, x, condition, t)

    def predictor(self, branch: Branch) -> Predictor:
        policy = control_branch.unwrapped(self.policy)  # not wrapped: validation samples on one process only

        def predict(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
            with (
                control_branch.network_of(branch, policy, self.reference) as control,
                gradients_of(branch),
            ):
                return self.velocity(control, x, condition, t, sampling=True)

        return predict

    def error(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor, branch: Branch) -> Tensor:
        """See `Backbone`; the mean is over the whole latents, with what belongs to the padding."""
        noisy, target = self.noised(latents, condition, t, noise)
        return (self.predict(noisy, t, condition, branch) - target).square().mean(dim=(1, 2, 3))

    def errors(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """See `Backbone`; two whole passes, since every block after the first sees the control's residuals."""
        # The reference first: nothing switches the adapter between the policy's forward and backward pass.
        reference = self.error(latents, condition, t, noise, "reference")
        return self.error(latents, condition, t, noise, "policy"), reference

    def digest(self, branch: Branch) -> str:
        return digests.of_json([self._frozen_digest, control_branch.digest_of(branch, self.policy, self.reference)])

    def save(self, folder: Path) -> None:
        """A folder that the ControlNet's own `from_pretrained` loads; an adapter is merged, and kept beside it."""
        control_branch.save(self.policy, folder)

    def load_policy(self, folder: Path) -> None:
        control_branch.load(self.policy, folder)

    def control_precision(self, sampling: bool) -> AbstractContextManager[Any]:
        """In sampling the control branch runs in the dtype of the frozen parts; in training the caller decides."""
        dtype = self.transformer.dtype
        if not sampling or dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype)

    @cached_property
    def _frozen_digest(self) -> str:
        """Of everything but the control branch; read once, since for FLUX.1 it is 17 billion parameters."""
        networks = (self.transformer, self.vae, *self.encoders)
        return digests.of_json([state_digest(network.state_dict()) for network in networks])
