"""The embedded default: a small conditional flow from an upsampled LR plus noise to the HR image, in pixel space.

With the residual r = (HR - up(LR)) / s, scaled to unit variance over the training data, the path is
x_sigma = (1 - sigma) r + sigma * kappa * epsilon. At sigma = 1 that is the upsampled LR plus moderate noise of
standard deviation kappa * s: the chain starts near its end, so few Euler steps do (the idea of residual shifting,
Yue et al., ResShift, arXiv 2307.12348). The network predicts r itself and the velocity follows,
v = (x_sigma - r_hat) / max(sigma, SIGMA_FLOOR): a network that need not carry the noise to its output leaves less of it
behind.

All of the network is the policy; there is no frozen part to share.
"""

import copy
import json
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.artifacts import digests
from components.backbones.base import Branch, Condition, Samples
from components.backbones.states import misfits
from components.errors import BadInput

SIGMA_FLOOR = 0.05
"""Below this the velocity's division by sigma would turn rounding into signal; the last Euler step never goes there."""

CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class TinyFlowConfig:
    """Everything but the weights.

    Attributes:
        scale: HR size over LR size.
        unshuffle: pixels per side folded into channels; the network works at 1/unshuffle of the output size.
        channels: width of each resolution level.
        layers: residual blocks per level.
        kappa: standard deviation of the noise at sigma = 1, in units of the residual's.
        residual_std: s, the standard deviation of HR - up(LR) over the training data, in [0, 1] image units.
        shift: of the Euler steps towards high noise, sigma = shift u / (1 + (shift - 1) u) for even u (Esser et al.,
            arXiv 2403.03206, section 5.3.2); 1 is even steps. What a restoration shows is settled near sigma = 1.
    """

    scale: int = 4
    unshuffle: int = 2
    channels: tuple[int, ...] = (32, 64, 96)
    layers: int = 1
    kappa: float = 0.4
    residual_std: float = 0.1
    shift: float = 1.0


class ResidualUNet(nn.Module):
    """diffusers' UNet2DModel on pixel-unshuffled input, `[B, 3, H, W]` in and out."""

    def __init__(self, config: TinyFlowConfig) -> None:
        # Imported on demand, here and below: diffusers takes 6 s of CPU time, and who finds all in a cache needs none.
        from diffusers import UNet2DModel  # noqa: PLC0415

        super().__init__()
        self.unshuffle = config.unshuffle
        folded = 3 * config.unshuffle**2
        levels = len(config.channels)
        self.multiple = config.unshuffle * 2 ** (levels - 1)
        self.unet = UNet2DModel(
            in_channels=2 * folded,
            out_channels=folded,
            block_out_channels=config.channels,
            layers_per_block=config.layers,
            norm_num_groups=8,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            add_attention=False,
        )

    def forward(self, noisy: Tensor, upsampled: Tensor, sigma: Tensor) -> Tensor:
        """Predict the scaled residual from `noisy` and `upsampled` (centred) `[B, 3, H, W]`, sigma `[B]` in (0, 1].

        Sizes that folding and down-sampling do not divide are padded for the network, and its output is cropped.
        """
        height, width = noisy.shape[-2:]
        both = F.pad(
            torch.cat([noisy, upsampled], dim=1), (0, -width % self.multiple, 0, -height % self.multiple), "replicate"
        )
        folded = F.pixel_unshuffle(both, self.unshuffle)
        predicted: Tensor = self.unet(folded, sigma * 1000.0, return_dict=False)[0]
        return F.pixel_shuffle(predicted, self.unshuffle)[..., :height, :width]


class TinyFlow:
    """The embedded backbone; see the module's docstring for the model."""

    sample_block: int | None = None

    def __init__(self, config: TinyFlowConfig, policy: nn.Module, steps: int, device: torch.device) -> None:
        check_steps(config, steps)
        self.config = config
        self.device = device
        self.policy = policy.to(device)
        self.reference = copy.deepcopy(self.policy).eval().requires_grad_(False)
        self.steps = steps

    @classmethod
    def new(cls, config: TinyFlowConfig, steps: int, device: torch.device) -> "TinyFlow":
        """A model with fresh weights from torch's global generator."""
        return cls(config, ResidualUNet(config), steps, device)

    @classmethod
    def load(cls, folder: Path, steps: int, device: torch.device) -> "TinyFlow":
        """Policy and reference from a saved folder.

        Raises:
            BadInput: a file is missing or does not hold this kind of model.
        """
        config = read_config(folder)
        policy = ResidualUNet(config)
        policy.load_state_dict(read_weights(folder, policy.state_dict()))
        return cls(config, policy, steps, device)

    def load_policy(self, folder: Path) -> None:
        """Replace the policy's weights by those of a saved folder; the reference stays.

        Raises:
            BadInput: the folder holds another architecture.
        """
        unwrapped = self._unwrapped()
        unwrapped.load_state_dict(read_weights(folder, unwrapped.state_dict()))

    @property
    def scale(self) -> int:
        return self.config.scale

    def noise_shape(self, height: int, width: int) -> tuple[int, ...]:
        return (3, height, width)

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        return (3, height, width)

    def condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        upsampled = F.interpolate(
            lr.to(self.device), scale_factor=self.config.scale, mode="bicubic", antialias=False, align_corners=False
        )
        return Condition(upsampled.clamp(0.0, 1.0), prompts)

    @torch.no_grad()
    def sample(self, condition: Condition, noise: Tensor, branch: Branch = "policy") -> Samples:
        from diffusers import FlowMatchEulerDiscreteScheduler  # noqa: PLC0415

        # The policy may have learned since the last call; its copy costs a hundredth of the denoising.
        network = _innermost(self._unwrapped()) if branch == "policy" else self._frozen
        scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
        scheduler.set_timesteps(sigmas=self.sigmas(), device=self.device)
        x = noise.to(self.device, torch.float32) * self.config.kappa
        for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
            velocity = self._velocity(network, x, condition.upsampled, sigma.to(self.device).expand(len(x)))
            x = scheduler.step(velocity, timestep, x, return_dict=False)[0]
        return Samples((condition.upsampled + x * self.config.residual_std).clamp(0.0, 1.0), None)

    def sigmas(self) -> list[float]:
        """Noise levels of the Euler steps, from 1 down; the scheduler appends 0."""
        return sigmas(self.config, self.steps)

    def encode(self, images: Tensor) -> Tensor:
        return images.to(self.device, torch.float32)

    def error(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor, branch: Branch) -> Tensor:
        return self.squared_errors(latents, condition, t, noise, branch).mean(dim=(1, 2, 3))

    def errors(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        policy = self.error(latents, condition, t, noise, "policy")
        return policy, self.error(latents, condition, t, noise, "reference")

    def squared_errors(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor, branch: Branch) -> Tensor:
        """Squared velocity error of every pixel and channel, `[B, 3, H, W]`; `error` is its mean over an image."""
        clean = (latents - condition.upsampled) / self.config.residual_std
        scaled_noise = self.config.kappa * noise
        level = t.view(-1, 1, 1, 1)
        noisy = (1.0 - level) * clean + level * scaled_noise
        if branch == "reference":
            with torch.no_grad():
                velocity = self._velocity(self.reference, noisy, condition.upsampled, t)
        else:
            velocity = self._velocity(self.policy, noisy, condition.upsampled, t)
        target = scaled_noise - clean
        return (velocity - target).square()

    def digest(self, branch: Branch) -> str:
        network = self._unwrapped() if branch == "policy" else self.reference
        return _model_digest(self.config, network.state_dict())

    def sampler_digest(self) -> str:
        return _sampler_digest(self.config, self.steps)

    def save(self, folder: Path) -> None:
        write_model(folder, self.config, self._unwrapped().state_dict())

    @cached_property
    def _frozen(self) -> nn.Module:
        return _innermost(self.reference)

    @staticmethod
    def _velocity(network: nn.Module, noisy: Tensor, upsampled: Tensor, sigma: Tensor) -> Tensor:
        predicted = network(noisy, upsampled * 2.0 - 1.0, sigma)
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


def _model_digest(config: TinyFlowConfig, state: dict[str, Tensor]) -> str:
    return digests.of_bytes((digests.of_json(asdict(config)) + digests.of_state(state)).encode())


def _sampler_digest(config: TinyFlowConfig, steps: int) -> str:
    return digests.of_json({"scheduler": "FlowMatchEuler", "sigmas": sigmas(config, steps)})


def saved_digests(folder: Path, steps: int) -> tuple[str, str]:
    """Digests of the model that `TinyFlow.load` would give, and of its sampler, without building the network.

    Raises:
        BadInput: a file is missing or damaged, or the model does not take so many steps. Whether weights and
            configuration fit together shows in `load`.
    """
    config = read_config(folder)
    check_steps(config, steps)
    return _model_digest(config, _stored_weights(folder)), _sampler_digest(config, steps)


def sigmas(config: TinyFlowConfig, steps: int) -> list[float]:
    """See `TinyFlow.sigmas`."""
    even = [1.0 - step / steps for step in range(steps)]
    return [config.shift * u / (1.0 + (config.shift - 1.0) * u) for u in even]


def check_steps(config: TinyFlowConfig, steps: int) -> None:
    """Raise BadInput where the sampler does not take so many steps."""
    most = max_steps(config.shift)
    if not 1 <= steps <= most:
        raise BadInput(
            f"backbone.steps is {steps}: this tiny_flow takes 1 to {most}, with more the last steps would start "
            f"below sigma = {SIGMA_FLOOR}, where its velocity is not the model's any more"
        )


def max_steps(shift: float) -> int:
    """Most Euler steps whose last one starts at SIGMA_FLOOR or above: sigma of u = 1/steps solved for steps."""
    return math.floor(shift / SIGMA_FLOOR - (shift - 1.0) + 1e-9)


def read_config(folder: Path) -> TinyFlowConfig:
    """Configuration of a saved model.

    Raises:
        BadInput: the file is missing, is not JSON, or has other keys.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise BadInput(f"backbone folder {folder} has no {CONFIG}; set backbone.path to a folder that `save` wrote")
    try:
        values = json.loads(path.read_text())
        return TinyFlowConfig(**{**values, "channels": tuple(values["channels"])})
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{path} does not describe a tiny_flow model ({error})") from error


def read_weights(folder: Path, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a saved model, checked name by name and shape by shape against `like`.

    Raises:
        BadInput: the file is missing or damaged, or a tensor does not fit; the first few are named.
    """
    state = _stored_weights(folder)
    wrong = misfits(state, like)
    if wrong:
        raise BadInput(
            f"{folder / WEIGHTS} does not fit the model {folder / CONFIG} describes: {len(wrong)} tensors, "
            f"first {wrong[:3]}"
        )
    return state


def _stored_weights(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        raise BadInput(f"backbone folder {folder} has no {WEIGHTS}; set backbone.path to a folder that `save` wrote")
    try:
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    except SafetensorError as error:
        raise BadInput(f"{path} is damaged ({error}); restore it from its source") from error


def write_model(folder: Path, config: TinyFlowConfig, state: dict[str, Tensor]) -> None:
    """Write configuration and float32 weights into an existing folder."""
    (folder / CONFIG).write_text(json.dumps(asdict(config), indent=2) + "\n")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, folder / WEIGHTS)
