"""A one-step model: SD-Turbo's kind of UNet and its VAE, distilled to go from a noisy LR to the HR in one step.

The LR's latents z are noised to one fixed timestep T, and the UNet's epsilon leads to the clean latents at once:

    x_0 = (a z + s epsilon - s epsilon_theta(a z + s epsilon, T)) / a        with a^2 = alphas_cumprod[T], s^2 = 1 - a^2

The state of the sampling is what is beside a z, so that the noise alone is its start: x = a (x_0 - z) + s epsilon.

e_theta, which every objective compares (docs/method.md, section 5), is the error of this one prediction: a candidate's
latents are noised to T, whatever time training draws, and e_theta = mean (epsilon_theta(a x_0 + s epsilon, T) -
epsilon)^2. That is (a / s)^2 times the squared error of the clean latents that the step would give. So the policy
gradient of DPO raises the likelihood of winners under the only step that there is, and the average over times of the
paper's loss has one term.

The folder: `unet/` and `vae/` in diffusers' format, `one_step.json` with scale, timestep and betas, and
`prompt.safetensors`, the embedding `text` `[1, L, C]` of the fixed prompt that the model was distilled with.
"""

import copy
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.backbones.base import Branch, Condition, Predictor, gradients_of
from components.backbones.controlnet import vae
from components.backbones.controlnet.pretrained import read_model
from components.backbones.samplers.base import Transition
from components.backbones.states import state_digest
from components.backbones.upsampling import upsample
from components.errors import BadInput
from components.settings import Count, FamilyBlock
from components.settings.families import Family, Limits
from components.storage import digests

CONFIG, PROMPT = "one_step.json", "prompt.safetensors"
LATENTS, TEXT = "latents", "text"
"""Names of a condition's encodings: z `[B, C, h, w]` and the prompt's embedding `[B, L, C]`."""
SETTING = "backbone.path"


class OneStepSettings(FamilyBlock):
    """The block `backbone`; scale and timestep are the model's own.

    Attributes:
        max_lr_pixels: larger LR images are refused before any work, px.
    """

    steps: Literal[1] = 1
    max_lr_pixels: Count = 1_048_576

    def stored_scale(self) -> int | None:
        try:
            return int(json.loads((self.path / CONFIG).read_text())["scale"])
        except (OSError, ValueError, KeyError, TypeError):  # whoever loads the model says what is wrong
            return None

    @property
    def largest_lr(self) -> int | None:
        return self.max_lr_pixels


@dataclass(frozen=True)
class OneStep:
    """The sampler, and the only step of its schedule; see the module's docstring.

    Attributes:
        signal, noise: a and s at the timestep.
        digest: see `Sampler`.
    """

    signal: float
    noise: float
    digest: str
    levels: tuple[float, ...] = ()

    @property
    def times(self) -> Tensor:
        """One time; the model has no other, and does not look at it."""
        return torch.ones(1)

    def noise_shape(self, latent: tuple[int, ...]) -> tuple[int, ...]:
        return latent

    def start(self, backbone: "OneStepModel", noise: Tensor) -> Tensor:
        return self.noise * noise

    def schedule(self, x: Tensor) -> "OneStep":
        return self

    def transition(self, step: int, predicted: Tensor, x: Tensor) -> Transition:
        return Transition((x - self.noise * predicted) / self.signal)

    def finish(self, backbone: "OneStepModel", x: Tensor, condition: Condition) -> Tensor:
        return x + condition.encodings[LATENTS]


class OneStepModel:
    """The backbone.

    Args:
        unet: becomes the policy; the reference is a copy.
        vae_model: frozen.
        text: `[1, L, C]`.
        config: of CONFIG.
    """

    stores_latents = True
    sample_block: int | None = None
    has_dial = False

    def __init__(
        self, unet: UNet2DConditionModel, vae_model: AutoencoderKL, text: Tensor, config: dict[str, Any],
        settings: OneStepSettings, device: torch.device,
    ) -> None:  # fmt: skip
        self.settings, self.config, self.device = settings, config, device
        self.policy: nn.Module = unet.float().to(device)
        self.reference = copy.deepcopy(unet).eval().requires_grad_(False)
        self.vae = vae_model.eval().requires_grad_(False).to(device)
        self.text = text.to(device)
        betas = {key: config[key] for key in ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps")}
        alpha = float(DDPMScheduler(**betas).alphas_cumprod[config["timestep"]])
        self.sampler = OneStep(alpha**0.5, (1.0 - alpha) ** 0.5, digests.of_json(["one step", config]))

    @classmethod
    def load(cls, folder: Path, settings: OneStepSettings, device: torch.device) -> Self:
        """Policy and reference of a saved folder.

        Raises:
            BadInput: a file is missing or damaged.
        """
        config = json.loads(_text(folder / CONFIG))
        unet = read_model(UNet2DConditionModel, folder, SETTING, torch.float32, "unet")
        vae_model = read_model(AutoencoderKL, folder, SETTING, torch.float32, "vae")
        text = load_file(folder / PROMPT)[TEXT]
        return cls(unet, vae_model, text, config, settings, device)

    @property
    def scale(self) -> int:
        return int(self.config["scale"])

    @property
    def multiple(self) -> int:
        """Pixels a latent, per side."""
        return vae.downsampling(self.vae)

    def add_dial(self) -> None:
        raise BadInput("pair.dial: this family has no place for a dial: set it to []")

    def noise_shape(self, height: int, width: int) -> tuple[int, ...]:
        return self.sampler.noise_shape(self.latent_shape(height, width))

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        channels: int = self.vae.config.latent_channels
        return (channels, -(-height // self.multiple), -(-width // self.multiple))

    def condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        upsampled = upsample(lr, self.scale, self.settings.max_lr_pixels).to(self.device)
        encodings = {LATENTS: self.encode(upsampled), TEXT: self.text.expand(len(lr), -1, -1)}
        return Condition(upsampled, prompts, encodings)

    def encode(self, images: Tensor) -> Tensor:
        return vae.encode(self.vae, vae.pad_to_multiple(images.to(self.device), self.multiple))

    def decode(self, latents: Tensor, condition: Condition) -> Tensor:
        height, width = condition.upsampled.shape[-2:]
        return vae.decode(self.vae, latents)[..., :height, :width]

    def noised(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        clean = latents - condition.encodings[LATENTS]
        return self.sampler.signal * clean + self.sampler.noise * noise, noise

    def predict(self, x: Tensor, t: Tensor, condition: Condition, branch: Branch) -> Tensor:
        network = self.policy if branch == "policy" else self.reference
        noisy = self.sampler.signal * condition.encodings[LATENTS] + x
        timestep = torch.full((len(x),), self.config["timestep"], device=x.device)
        with gradients_of(branch):
            predicted: Tensor = network(noisy, timestep, condition.encodings[TEXT], return_dict=False)[0]
        return predicted.float()

    def predictor(self, branch: Branch) -> Predictor:
        return lambda x, t, condition: self.predict(x, t, condition, branch)

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
        """The whole model: it can be used without the one that it was trained from."""
        self._unwrapped.save_pretrained(folder / "unet")
        self.vae.save_pretrained(folder / "vae")
        save_file({TEXT: self.text.cpu().contiguous()}, folder / PROMPT)
        (folder / CONFIG).write_text(json.dumps(self.config, indent=2) + "\n")

    def load_policy(self, folder: Path) -> None:
        unet = read_model(UNet2DConditionModel, folder, SETTING, torch.float32, "unet")
        try:
            self._unwrapped.load_state_dict(unet.state_dict())
        except RuntimeError as error:
            raise BadInput(f"{folder / 'unet'} is another UNet than that of {SETTING}: {error}") from error

    @property
    def _unwrapped(self) -> Any:
        return getattr(self.policy, "module", self.policy)  # DistributedDataParallel keeps the model there

    @cached_property
    def _frozen_digest(self) -> str:
        return digests.of_json([self.config, state_digest(self.vae.state_dict() | {TEXT: self.text})])


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise BadInput(
            f"{SETTING}: {path} cannot be read ({error.strerror}): name a folder that `save` wrote"
        ) from error


ONE_STEP = Family(OneStepModel.load, settings=OneStepSettings, limits=Limits(trained_side=512))
