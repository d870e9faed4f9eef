"""What the pixel-space families share: a conditional flow from a picture plus noise to the HR image.

A family names a picture p that it knows of an LR and the unit s of the residual r = (HR - p) / s. The path is
x_sigma = (1 - sigma) r + sigma * kappa * epsilon: at sigma = 1 that is p plus moderate noise of standard deviation
kappa * s, so the chain starts near its end and few Euler steps do (the idea of residual shifting, Yue et al., ResShift,
arXiv 2307.12348). The network predicts r itself and the velocity follows, v = (x_sigma - r_hat) / max(sigma,
SIGMA_FLOOR): a network that need not carry the noise to its output leaves less of it behind.

Latents are the picture's pixels, or a smaller picture that the family decodes.
"""

import copy
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.artifacts import digests
from components.backbones.base import Branch, Condition, Samples
from components.backbones.states import misfits, state_digest
from components.errors import BadInput

SIGMA_FLOOR = 0.05
"""Below this the velocity's division by sigma would turn rounding into signal; the last Euler step never goes there."""

CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class ResidualFlowConfig:
    """What every family of this kind has.

    Attributes:
        scale: HR size over LR size.
        kappa: standard deviation of the noise at sigma = 1, in units of the residual's.
        shift: of the Euler steps towards high noise, sigma = shift u / (1 + (shift - 1) u) for even u (Esser et al.,
            arXiv 2403.03206, section 5.3.2); 1 is even steps. What a restoration shows is settled near sigma = 1.
    """

    scale: int = 4
    kappa: float = 0.4
    shift: float = 1.0


class ResidualFlow(ABC):
    """A pixel-space backbone; `network(noisy, context, sigma)` predicts r, all `[B, 3, H, W]`, sigma `[B]`."""

    sample_block: int | None = None

    gain: float = 1.0
    """Factor of the sampled residual."""

    def __init__(self, config: ResidualFlowConfig, policy: nn.Module, steps: int, device: torch.device) -> None:
        check_steps(config.shift, steps)
        self.config = config
        self.device = device
        self.policy = policy.to(device)
        self.reference = copy.deepcopy(self.policy).eval().requires_grad_(False)
        self.steps = steps

    @abstractmethod
    def condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        """See `Backbone.condition`."""

    @abstractmethod
    def _picture(self, condition: Condition) -> Tensor:
        """p, of the latents' shape, in [0, 1]."""

    def _decoded(self, latents: Tensor, condition: Condition) -> Tensor:
        """Images `[B, 3, H, W]` of latents; here they are the images."""
        return latents

    @abstractmethod
    def _unit(self, condition: Condition) -> Tensor | float:
        """s, a number or one channel of the latents' size, in [0, 1] image units."""

    @abstractmethod
    def _context(self, condition: Condition) -> Tensor:
        """What the network sees beside the noisy residual, `[B, C, ...]`."""

    @property
    def scale(self) -> int:
        return self.config.scale

    def noise_shape(self, height: int, width: int) -> tuple[int, ...]:
        return (3, height, width)

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        return (3, height, width)

    @torch.no_grad()
    def sample(self, condition: Condition, noise: Tensor, branch: Branch = "policy") -> Samples:
        from diffusers import FlowMatchEulerDiscreteScheduler  # noqa: PLC0415 - 6 s of CPU time where all is cached

        # The policy may have learned since the last call; its copy costs a hundredth of the denoising.
        network = _innermost(self._unwrapped()) if branch == "policy" else self._frozen
        scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
        scheduler.set_timesteps(sigmas=self.sigmas(), device=self.device)
        x = noise.to(self.device, torch.float32) * self.config.kappa
        context = self._context(condition)
        for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
            velocity = self._velocity(network, x, context, sigma.to(self.device).expand(len(x)))
            x = scheduler.step(velocity, timestep, x, return_dict=False)[0]
        latents = self._picture(condition) + x * self._unit(condition) * self.gain
        return Samples(self._decoded(latents, condition).clamp(0.0, 1.0), None)

    def sigmas(self) -> list[float]:
        """Noise levels of the Euler steps, from 1 down; the scheduler appends 0."""
        return sigmas(self.config.shift, self.steps)

    def encode(self, images: Tensor) -> Tensor:
        return images.to(self.device, torch.float32)

    def error(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor, branch: Branch) -> Tensor:
        return self.squared_errors(latents, condition, t, noise, branch).mean(dim=(1, 2, 3))

    def errors(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        policy = self.error(latents, condition, t, noise, "policy")
        return policy, self.error(latents, condition, t, noise, "reference")

    def squared_errors(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor, branch: Branch) -> Tensor:
        """Squared velocity error of every pixel and channel, `[B, 3, H, W]`; `error` is its mean over an image."""
        clean = (latents - self._picture(condition)) / self._unit(condition)
        scaled_noise = self.config.kappa * noise
        level = t.view(-1, 1, 1, 1)
        noisy = (1.0 - level) * clean + level * scaled_noise
        context = self._context(condition)
        if branch == "reference":
            with torch.no_grad():
                velocity = self._velocity(self.reference, noisy, context, t)
        else:
            velocity = self._velocity(self.policy, noisy, context, t)
        target = scaled_noise - clean
        return (velocity - target).square()

    def digest(self, branch: Branch) -> str:
        network = self._unwrapped() if branch == "policy" else self.reference
        return model_digest(self.config, network.state_dict())

    def sampler_digest(self) -> str:
        return sampler_digest(self.config, self.steps, self.gain)

    def save(self, folder: Path) -> None:
        write_model(folder, self.config, self._unwrapped().state_dict())

    def load_policy(self, folder: Path) -> None:
        """Replace the policy's weights by those of a saved folder; the reference stays.

        Raises:
            BadInput: the folder holds another architecture.
        """
        unwrapped = self._unwrapped()
        unwrapped.load_state_dict(read_weights(folder, unwrapped.state_dict()))

    @cached_property
    def _frozen(self) -> nn.Module:
        return _innermost(self.reference)

    @staticmethod
    def _velocity(network: nn.Module, noisy: Tensor, context: Tensor, sigma: Tensor) -> Tensor:
        predicted = network(noisy, context, sigma)
        velocity: Tensor = (noisy - predicted) / sigma.clamp_min(SIGMA_FLOOR).view(-1, 1, 1, 1)
        return velocity

    def _unwrapped(self) -> nn.Module:
        inner = getattr(self.policy, "module", self.policy)  # DistributedDataParallel keeps the model there
        if not isinstance(inner, nn.Module):
            raise TypeError(f"policy is a {type(self.policy).__name__} without a module inside")
        return inner


def _innermost(network: nn.Module) -> nn.Module:
    """A copy for sampling: channels innermost are up to 1.4 times faster on a CPU, but slower with a backward pass."""
    return copy.deepcopy(network).eval().to(memory_format=torch.channels_last)


def model_digest(config: ResidualFlowConfig, state: Mapping[str, Tensor]) -> str:
    """sha256 of configuration and weights."""
    return digests.of_bytes((digests.of_json(asdict(config)) + state_digest(dict(state))).encode())


def sampler_digest(config: ResidualFlowConfig, steps: int, gain: float = 1.0) -> str:
    """sha256 of the sampler, its noise levels and the residual's gain."""
    gained = {} if gain == 1.0 else {"gain": gain}
    return digests.of_json({"scheduler": "FlowMatchEuler", "sigmas": sigmas(config.shift, steps)} | gained)


def sigmas(shift: float, steps: int) -> list[float]:
    """See `ResidualFlow.sigmas`."""
    even = [1.0 - step / steps for step in range(steps)]
    return [shift * u / (1.0 + (shift - 1.0) * u) for u in even]


def check_steps(shift: float, steps: int) -> None:
    """Raise BadInput where the sampler does not take so many steps."""
    most = max_steps(shift)
    if not 1 <= steps <= most:
        raise BadInput(
            f"backbone.steps is {steps}: this model takes 1 to {most}, with more the last steps would start "
            f"below sigma = {SIGMA_FLOOR}, where its velocity is not the model's any more"
        )


def max_steps(shift: float) -> int:
    """Most Euler steps whose last one starts at SIGMA_FLOOR or above: sigma of u = 1/steps solved for steps."""
    return math.floor(shift / SIGMA_FLOOR - (shift - 1.0) + 1e-9)


def read_json(folder: Path, family: str) -> dict[str, Any]:
    """The keys of a saved model's configuration.

    Raises:
        BadInput: the file is missing or is not a JSON object.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise BadInput(f"backbone folder {folder} has no {CONFIG}; set backbone.path to a folder that `save` wrote")
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise BadInput(f"{path} does not describe a {family} model ({error})") from error
    if not isinstance(values, dict):
        raise BadInput(f"{path} does not describe a {family} model (it is no JSON object)")
    return values


def saved_shift(folder: Path) -> float:
    """`config.shift` of a saved model.

    Raises:
        BadInput: as `read_json`.
    """
    return float(read_json(folder, "residual flow").get("shift", ResidualFlowConfig.shift))


def read_weights(folder: Path, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a saved model, checked name by name and shape by shape against `like`.

    Raises:
        BadInput: the file is missing or damaged, or a tensor does not fit; the first few are named.
    """
    state = stored_weights(folder)
    wrong = misfits(state, like)
    if wrong:
        raise BadInput(
            f"{folder / WEIGHTS} does not fit the model {folder / CONFIG} describes: {len(wrong)} tensors, "
            f"first {wrong[:3]}"
        )
    return state


def stored_weights(folder: Path) -> dict[str, Tensor]:
    """Weights of a saved model, float32.

    Raises:
        BadInput: the file is missing or damaged.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise BadInput(f"backbone folder {folder} has no {WEIGHTS}; set backbone.path to a folder that `save` wrote")
    try:
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    except SafetensorError as error:
        raise BadInput(f"{path} is damaged ({error}); restore it from its source") from error


def write_model(folder: Path, config: ResidualFlowConfig, state: Mapping[str, Tensor]) -> None:
    """Write configuration and float32 weights into an existing folder."""
    (folder / CONFIG).write_text(json.dumps(asdict(config), indent=2) + "\n")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, folder / WEIGHTS)
