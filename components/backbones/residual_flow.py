"""What the pixel-space families share: a conditional flow from a picture plus noise to the HR image.

A family names a picture p that it knows of an LR and the unit s of the residual r = (HR - p) / s. The path is
x_sigma = (1 - sigma) r + sigma * kappa * epsilon: at sigma = 1 that is p plus moderate noise of standard deviation
kappa * s, so the chain starts near its end and few Euler steps do (the idea of residual shifting, Yue et al., ResShift,
arXiv 2307.12348). The network predicts r itself and the velocity follows, v = (x_sigma - r_hat) / max(sigma,
SIGMA_FLOOR): a network that need not carry the noise to its output leaves less of it behind.

Latents are the picture's pixels, or a smaller picture that the family decodes.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.backbones.base import Branch, Condition, Predictor, gradients_of
from components.backbones.dial import PREFERENCE, DialledNetwork
from components.backbones.model_config import CONFIG, read_json, write_config
from components.backbones.samplers.levels import SIGMA_FLOOR
from components.backbones.samplers.residual_euler import ResidualEuler
from components.backbones.states import mismatched_keys, state_digest
from components.errors import BadInput
from components.storage import digests

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class ResidualFlowConfig:
    """What every family of this kind has.

    Attributes:
        scale: HR size over LR size.
        kappa: standard deviation of the noise at sigma = 1, in units of the residual's.
        shift: of the sampler's steps towards high noise, see `ResidualEuler`.
        dial: whether the network has one, see `backbones.dial`.
    """

    scale: int = 4
    kappa: float = 0.4
    shift: float = 1.0
    dial: bool = False


class ResidualFlow(ABC):
    """A pixel-space backbone; `network(noisy, context, sigma)` predicts r, all `[B, 3, H, W]`, sigma `[B]`.

    A `DialledNetwork` may be called with a preference `[B]` after them.
    """

    sample_block: int | None = None
    stores_latents = False

    sampler: ResidualEuler

    def __init__(self, config: ResidualFlowConfig, policy: nn.Module, steps: int, device: torch.device) -> None:
        self.sampler = ResidualEuler(config.shift, steps)
        self.config = config
        self.device = device
        self.policy = policy.to(device)
        self.reference = copy.deepcopy(self.policy).eval().requires_grad_(False)

    @abstractmethod
    def condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        """See `Backbone.condition`."""

    def fresh_condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        """`condition` by torch's operations alone, without what is kept of earlier calls: an export follows them."""
        return self.condition(lr, prompts)

    @property
    def frozen_networks(self) -> tuple[nn.Module, ...]:
        """Networks beside the branch that a restoration runs."""
        return ()

    def velocity(self, network: nn.Module, x: Tensor, condition: Condition, t: Tensor) -> Tensor:
        """What `predict` gives, of a network that is neither branch."""
        return self._velocity(network, x, self._context(condition), t)

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
        return self.sampler.noise_shape(self.latent_shape(height, width))

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        return (3, height, width)

    def encode(self, images: Tensor) -> Tensor:
        return images.to(self.device, torch.float32)

    def decode(self, latents: Tensor, condition: Condition) -> Tensor:
        return self._decoded(latents, condition).clamp(0.0, 1.0)

    def latents_of(self, residual: Tensor, condition: Condition, gain: float = 1.0) -> Tensor:
        """Clean latents of a residual in its unit, `gain` times as strong."""
        return self._picture(condition) + residual * self._unit(condition) * gain

    def noised(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """See `Backbone`; x_t is of the residual in its unit."""
        clean = (latents - self._picture(condition)) / self._unit(condition)
        scaled_noise = self.config.kappa * noise
        level = t.view(-1, 1, 1, 1)
        return (1.0 - level) * clean + level * scaled_noise, scaled_noise - clean

    def predict(self, x: Tensor, t: Tensor, condition: Condition, branch: Branch) -> Tensor:
        network = self.policy if branch == "policy" else self.reference
        with gradients_of(branch):
            return self._velocity(network, x, self._context(condition), t, _place(condition, branch))

    def predictor(self, branch: Branch) -> Predictor:
        """See `Backbone`; where no gradient is asked for, a copy in a faster memory layout predicts."""
        if torch.is_grad_enabled():
            return lambda x, t, condition: self.predict(x, t, condition, branch)
        # The policy may have learned since the last call; its copy costs a hundredth of the denoising.
        network = _innermost(self._unwrapped()) if branch == "policy" else self._frozen
        return lambda x, t, condition: self._velocity(
            network, x, self._context(condition), t, _place(condition, branch)
        )

    def error(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor, branch: Branch) -> Tensor:
        return self.squared_errors(latents, condition, t, noise, branch).mean(dim=(1, 2, 3))

    def errors(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        policy = self.error(latents, condition, t, noise, "policy")
        return policy, self.error(latents, condition, t, noise, "reference")

    def squared_errors(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor, branch: Branch) -> Tensor:
        """Squared velocity error of every pixel and channel, `[B, 3, H, W]`; `error` is its mean over an image."""
        noisy, target = self.noised(latents, condition, t, noise)
        return (self.predict(noisy, t, condition, branch) - target).square()

    def digest(self, branch: Branch) -> str:
        network = self._unwrapped() if branch == "policy" else self.reference
        return model_digest(self._config_of(network), network.state_dict())

    @property
    def has_dial(self) -> bool:
        return _has_dial(self._unwrapped())

    def add_dial(self) -> None:
        """See `Backbone`; before the policy is wrapped.

        Raises:
            BadInput: the network has no place for one.
        """
        network = self._unwrapped()
        if not isinstance(network, DialledNetwork):
            raise BadInput(f"pair.dial: {type(network).__name__} is no network that takes a dial: set pair.dial to []")
        network.add_dial()

    def save(self, folder: Path) -> None:
        network = self._unwrapped()
        write_model(folder, self._config_of(network), network.state_dict())

    def load_policy(self, folder: Path) -> None:
        """Replace the policy's weights by those of a saved folder, with a dial where it has one; the reference stays.

        Raises:
            BadInput: the folder holds another architecture.
        """
        if read_json(folder, "residual flow").get("dial"):
            self.add_dial()
        unwrapped = self._unwrapped()
        unwrapped.load_state_dict(read_weights(folder, unwrapped.state_dict()))

    @cached_property
    def _frozen(self) -> nn.Module:
        return _innermost(self.reference)

    def _config_of(self, network: nn.Module) -> ResidualFlowConfig:
        """The configuration, with what a training has added to this network."""
        return replace(self.config, dial=_has_dial(network))

    @staticmethod
    def _velocity(
        network: nn.Module, noisy: Tensor, context: Tensor, sigma: Tensor, preference: Tensor | None = None
    ) -> Tensor:
        told = () if preference is None else (preference,)  # a network without a dial takes none
        predicted = network(noisy, context, sigma, *told)
        velocity: Tensor = (noisy - predicted) / sigma.clamp_min(SIGMA_FLOOR).view(-1, 1, 1, 1)
        return velocity

    def _unwrapped(self) -> nn.Module:
        inner = getattr(self.policy, "module", self.policy)  # DistributedDataParallel keeps the model there
        if not isinstance(inner, nn.Module):
            raise TypeError(f"policy is a {type(self.policy).__name__} without a module inside")
        return inner


def _place(condition: Condition, branch: Branch) -> Tensor | None:
    """What the dial of a branch is told; the reference is told nothing."""
    return condition.encodings.get(PREFERENCE) if branch == "policy" else None


def _has_dial(network: nn.Module) -> bool:
    return isinstance(network, DialledNetwork) and network.dial is not None


def _innermost(network: nn.Module) -> nn.Module:
    """A copy for sampling: channels innermost are up to 1.4 times faster on a CPU, but slower with a backward pass."""
    return copy.deepcopy(network).eval().to(memory_format=torch.channels_last)


LATER = (("second_look_blocks", 0), ("dial", False))
"""Keys of a configuration that models are older than, with the value that leaves them as they were."""


def model_digest(config: ResidualFlowConfig, state: Mapping[str, Tensor]) -> str:
    """sha256 of configuration and weights.

    What a configuration did not have at first is left out where it is off, so that models keep their digest.
    """
    described = {key: value for key, value in asdict(config).items() if (key, value) not in LATER}
    return digests.of_bytes((digests.of_json(described) + state_digest(dict(state))).encode())


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
    wrong = mismatched_keys(state, like)
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
    described = asdict(config)
    if not config.dial:  # a file of before there were dials has the same bytes
        del described["dial"]
    write_config(folder, described)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, folder / WEIGHTS)
