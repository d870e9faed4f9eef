"""A plain residual network with a noise input: no diffusion, no flow, no pretrained parts; one file of PyTorch.

HR = up(LR) + network(up(LR), epsilon), with up the bicubic enlargement and epsilon standard normal noise of the
picture's size, which decides what the network makes up.

The state of the sampling is the noise itself, and its one step puts the network's residual in the noise's place.
e_theta, which every objective compares (docs/method.md, section 5), is the squared error of the restoration: a
candidate's residual is the target whatever the noise, e_theta = mean (network(up(LR), epsilon) - (x_0 - up(LR)))^2. It
is the negative log-likelihood, but for constants, of a normal distribution around what the network makes of one noise.
Training draws the noise anew (train.noise: fresh): with a candidate's own noise the network gave that very candidate,
so the error and its gradient would be 0 at the start.

The folder: `residual.json` with scale, channels and blocks, and `model.safetensors`.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.backbones.base import Branch, Condition, Predictor, gradients_of
from components.backbones.samplers.base import Transition
from components.backbones.states import state_digest
from components.errors import BadInput
from components.settings import FamilyBlock
from components.settings.families import Family, Limits
from components.storage import digests

CONFIG, WEIGHTS = "residual.json", "model.safetensors"


class ResidualSettings(FamilyBlock):
    """The block `backbone`; everything else is the model's own."""

    steps: Literal[1] = 1

    def stored_scale(self) -> int | None:
        try:
            return int(json.loads((self.path / CONFIG).read_text())["scale"])
        except (OSError, ValueError, KeyError, TypeError):  # whoever loads the model says what is wrong
            return None


class ResidualNetwork(nn.Module):
    """3 x 3 convolutions: one in, residual blocks, one out, which starts small."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(6, channels, 3, padding=1)
        self.first = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(blocks))
        self.leave = nn.Conv2d(channels, 3, 3, padding=1)
        nn.init.normal_(self.leave.weight, std=0.01)

    def forward(self, noise: Tensor, upsampled: Tensor) -> Tensor:
        """The residual `[B, 3, H, W]` from noise and picture of that shape, the picture in [0, 1]."""
        x = self.enter(torch.cat([noise, upsampled * 2.0 - 1.0], dim=1))
        for first, second in zip(self.first, self.second, strict=True):
            x = x + second(F.silu(first(x)))
        residual: Tensor = self.leave(F.silu(x))
        return residual


@dataclass(frozen=True)
class OneCall:
    """The sampler, and the only step of its schedule; see the module's docstring."""

    digest: str = digests.of_json("one call of a residual network")
    levels: tuple[float, ...] = ()

    @property
    def times(self) -> Tensor:
        """One time; the network does not look at it."""
        return torch.ones(1)

    def noise_shape(self, latent: tuple[int, ...]) -> tuple[int, ...]:
        return latent

    def start(self, backbone: "ResidualModel", noise: Tensor) -> Tensor:
        return noise

    def schedule(self, x: Tensor) -> "OneCall":
        return self

    def transition(self, step: int, predicted: Tensor, x: Tensor) -> Transition:
        return Transition(predicted)

    def finish(self, backbone: "ResidualModel", x: Tensor, condition: Condition) -> Tensor:
        return x + condition.upsampled


class ResidualModel:
    """The backbone; latents are pictures.

    Args:
        network: becomes the policy; the reference is a copy.
        config: of CONFIG.
    """

    stores_latents = False
    sample_block: int | None = None
    has_dial = False

    def __init__(self, network: nn.Module, config: dict[str, Any], device: torch.device) -> None:
        self.config, self.device, self.sampler = config, device, OneCall()
        self.policy = network.to(device)
        self.reference = copy.deepcopy(network).eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: Path, settings: ResidualSettings, device: torch.device) -> Self:
        """Policy and reference of a saved folder.

        Raises:
            BadInput: a file is missing or damaged.
        """
        try:
            config = json.loads((folder / CONFIG).read_text())
            network = ResidualNetwork(config["channels"], config["blocks"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"backbone.path: {folder / CONFIG} describes no such model ({error!r})") from error
        model = cls(network, config, device)
        model.load_policy(folder)
        model.reference.load_state_dict(model.policy.state_dict())
        return model

    @property
    def scale(self) -> int:
        return int(self.config["scale"])

    def add_dial(self) -> None:
        raise BadInput("pair.dial: this family has no place for a dial: set it to []")

    def noise_shape(self, height: int, width: int) -> tuple[int, ...]:
        return self.latent_shape(height, width)

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        return (3, height, width)

    def condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        upsampled = F.interpolate(lr.to(self.device), scale_factor=self.scale, mode="bicubic", align_corners=False)
        return Condition(upsampled.clamp(0.0, 1.0), prompts)

    def encode(self, images: Tensor) -> Tensor:
        return images.to(self.device, torch.float32)

    def decode(self, latents: Tensor, condition: Condition) -> Tensor:
        return latents.clamp(0.0, 1.0)

    def noised(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        return noise, latents - condition.upsampled

    def predict(self, x: Tensor, t: Tensor, condition: Condition, branch: Branch) -> Tensor:
        network = self.policy if branch == "policy" else self.reference
        with gradients_of(branch):
            predicted: Tensor = network(x, condition.upsampled)
        return predicted.float()

    def predictor(self, branch: Branch) -> Predictor:
        return lambda x, t, condition: self.predict(x, t, condition, branch)

    def error(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor, branch: Branch) -> Tensor:
        x, target = self.noised(latents, condition, t, noise)
        return (self.predict(x, t, condition, branch) - target).square().mean(dim=(1, 2, 3))

    def errors(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        policy = self.error(latents, condition, t, noise, "policy")
        return policy, self.error(latents, condition, t, noise, "reference")

    def digest(self, branch: Branch) -> str:
        network = self._unwrapped if branch == "policy" else self.reference
        return digests.of_json([self.config, state_digest(network.state_dict())])

    def save(self, folder: Path) -> None:
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self._unwrapped.state_dict().items()}
        save_file(state, folder / WEIGHTS)
        (folder / CONFIG).write_text(json.dumps(self.config, indent=2) + "\n")

    def load_policy(self, folder: Path) -> None:
        try:
            self._unwrapped.load_state_dict(load_file(folder / WEIGHTS))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise BadInput(f"{folder / WEIGHTS} is not there, damaged, or of another network: {error}") from error

    @property
    def _unwrapped(self) -> nn.Module:
        inner: nn.Module = getattr(self.policy, "module", self.policy)  # DistributedDataParallel keeps it there
        return inner


RESIDUAL = Family(ResidualModel.load, settings=ResidualSettings, limits=Limits())
