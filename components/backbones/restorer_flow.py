"""The embedded default: a frozen pretrained restorer, and a small trainable flow that corrects its picture.

The restorer's picture p of an LR (Real-ESRGAN x4plus, with the LR's colours) is made once an LR. The flow
(`residual_flow`) knows it reduced `detail` times, D p, and goes from there to the HR reduced as much, D HR: the latents
z are pictures of that size. What is decoded is a picture q with its coarse part replaced, by back-projection (Irani and
Peleg, 1991):

    x <- x + U (z - D x), starting at x = q, PROJECTIONS times; D reduces and U enlarges, both bicubic.

With q = p edges and the finest texture stay the restorer's, clean as they are, and the flow decides what an LR of that
kind leaves open: structure, contrast, texture down to 2 `detail` px. With w = `second_look` > 0 the restorer looks
again, at the LR with the sample's correction in it, and draws the finest texture that goes with it:

* `second_look_blocks` = 0: q = restorer(LR + w (z - D p)), all of it. It was trained to tell texture from noise, so a
  small correction moves much of what it sees as texture.
* `second_look_blocks` = k: its last k residual blocks alone see the change, w times as strongly
  (`restorers.trunk`). The ones before them, which find edges and paint over noise, stay with the LR. It costs a part.

The flow's unit s is a map, the residual's expected size at each place, so that noise and residual are small where p is
surely right: a clean input and a smooth area stay clean. Only the branch is the policy; the reference is a frozen copy
of it, and the decoder is shared by both: the paper's ControlNet between a frozen text-to-image model and its frozen
decoder, small.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.backbones.base import Condition
from components.backbones.colour import fix_colours
from components.backbones.model_config import CONFIG, read_json
from components.backbones.residual_flow import (
    ResidualFlow,
    ResidualFlowConfig,
    model_digest,
    read_weights,
    stored_weights,
)
from components.backbones.restorers.restorer import Restorer, load_restorer, weights_digest
from components.backbones.samplers.residual_euler import ResidualEuler
from components.backbones.stochastic_branch import StochasticBranch
from components.errors import BadInput
from components.settings import RestorerFlowSettings
from components.storage import digests

LR, PICTURE, COARSE, SEEN, UNIT = "lr", "restored", "restored_coarse", "upsampled_coarse", "residual_unit"
"""Names of a condition's encodings: the LR `[B, 3, h, w]` and p `[B, 3, H, W]`, both in [0, 1]; D p and D up(LR)
`[B, 3, H/d, W/d]`; s, one channel."""
FEATURES, STATE = "restorer_features", "restorer_state"
"""Of a second look by some blocks: f and h of `restorers.trunk`, `[B, C, h, w]`."""

PROJECTIONS = 2
"""Of the coarse part; more change little."""
WINDOW = 5
"""Side of the neighbourhood over which activity and disagreement are averaged, latent px."""
ENERGY_FLOOR = 1e-5
"""Added to mean squares before their logarithm: .8 of an 8-bit grey level."""
UNIT_RANGE = (0.01, 0.25)
"""Least and largest s: 2.5 grey levels, below which a residual is rounding and camera noise, and a quarter of white."""

KEPT_BYTES = 256 * 2**20
"""Conditions that are kept, as the restorer costs as much as a hundred steps of the branch."""


@dataclass(frozen=True)
class RestorerFlowConfig(ResidualFlowConfig):
    """Everything but the weights.

    Attributes:
        detail: d, how many times smaller the latents are than the picture.
        channels: see `StochasticBranch`.
        blocks: see `StochasticBranch`.
        embedding: see `StochasticBranch`.
        restorer: what the branch was trained on, see `load_restorer`.
        restorer_digest: sha256 of the restorer's weights.
        unit: coefficients of log s^2, see `residual_unit`.
        second_look: w, how strongly the restorer sees the sample's correction when it looks again; 0: it does not
            look, and the finest texture of all samples is that of p.
        second_look_blocks: k, how many of its last residual blocks see it; 0: all of it looks again, for what p costs.
    """

    detail: int = 4
    channels: tuple[int, ...] = (16, 48, 96, 160)
    blocks: tuple[int, ...] = (1, 2, 3, 2)
    embedding: int = 128
    restorer: str = "realesrgan-x4plus"
    restorer_digest: str = ""
    unit: tuple[float, ...] = (-4.6, 0.0, 0.0, 0.0)
    second_look: float = 0.0
    second_look_blocks: int = 0


@dataclass(frozen=True)
class SecondLook:
    """What of a saved model's second look is to be otherwise; None: as the model says."""

    strength: float | None = None
    blocks: int | None = None


AS_SAVED = SecondLook()


def reduced(images: Tensor, detail: int) -> Tensor:
    """D: `[B, 3, H, W]` to `[B, 3, H/d, W/d]`, bicubic with antialiasing."""
    if detail == 1:
        return images
    size = (images.shape[-2] // detail, images.shape[-1] // detail)
    return F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)


def projected(picture: Tensor, latents: Tensor, detail: int) -> Tensor:
    """`picture` `[B, 3, H, W]` with the coarse part of `latents` `[B, 3, H/d, W/d]`, see the module's docstring."""
    x = picture
    for _ in range(PROJECTIONS):
        missing = latents - reduced(x, detail)
        x = x + F.interpolate(missing, size=x.shape[-2:], mode="bicubic", align_corners=False)
    return x


def condition_of(
    upsampled: Tensor, picture: Tensor, prompts: tuple[str, ...], config: "RestorerFlowConfig"
) -> Condition:
    """What the branch sees of LR images, from their enlargements and the restorer's pictures `[B, 3, H, W]`."""
    coarse, seen = reduced(picture, config.detail), reduced(upsampled, config.detail)
    unit = residual_unit(coarse, seen, config.unit)
    return Condition(upsampled, prompts, {PICTURE: picture, COARSE: coarse, SEEN: seen, UNIT: unit})


def energies(picture: Tensor, upsampled: Tensor) -> Tensor:
    """What the residual's size is told from, `[B, 4, H, W]`: 1 and three logarithms of local mean squares.

    They are of the fine structure of the restored picture and of the upsampled LR, both reduced, and of the two
    pictures' difference; all from `[B, 3, H, W]` in [0, 1].
    """
    squares = [
        _fine(picture).square().mean(dim=1, keepdim=True),
        _fine(upsampled).square().mean(dim=1, keepdim=True),
        (picture - upsampled).square().mean(dim=1, keepdim=True),
    ]
    logs = [(_local_mean(square, WINDOW) + ENERGY_FLOOR).log() for square in squares]
    return torch.cat([torch.ones_like(logs[0]), *logs], dim=1)


def residual_unit(picture: Tensor, upsampled: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """s of every pixel, `[B, 1, H, W]`: log s^2 is linear in `energies`, with the given four coefficients."""
    weights = torch.tensor(coefficients, device=picture.device).view(1, -1, 1, 1)
    log_square = (energies(picture, upsampled) * weights).sum(dim=1, keepdim=True)
    return (0.5 * log_square).exp().clamp(*UNIT_RANGE)


def _fine(image: Tensor) -> Tensor:
    return image - _local_mean(image, 3)


def _local_mean(image: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(image, side, stride=1, padding=side // 2, count_include_pad=False)


class RestorerFlow(ResidualFlow):
    """The embedded backbone; see the module's docstring for the model."""

    config: RestorerFlowConfig

    def __init__(
        self, config: RestorerFlowConfig, policy: nn.Module, restorer: Restorer, steps: int, device: torch.device
    ) -> None:
        super().__init__(config, policy, steps, device)
        self._restorer = restorer
        self._kept: OrderedDict[str, Condition] = OrderedDict()

    @classmethod
    def new(cls, config: RestorerFlowConfig, steps: int, device: torch.device, root: Path = Path()) -> "RestorerFlow":
        """A model with fresh weights from torch's global generator; the restorer's digest is that of its files."""
        restorer = load_restorer(config.restorer, root, device)
        config = replace(config, restorer_digest=restorer.digest)
        return cls(config, _branch(config), restorer, steps, device)

    @classmethod
    def load(
        cls, folder: Path, steps: int, device: torch.device, restorer: str = "", look: SecondLook = AS_SAVED
    ) -> "RestorerFlow":
        """Policy and reference from a saved folder, on the restorer they were trained on, or another one.

        Args:
            restorer: see `load_restorer`, with an absolute path; empty for the one that the model's own configuration
                names.
            look: instead of the model's own.

        Raises:
            BadInput: a file is missing or does not hold this kind of model, or the restorer has other weights than
                those the branch was trained on, and was not asked for by name, or enlarges by another factor.
        """
        config = read_config(folder, restorer, look)
        policy = _branch(config)
        policy.load_state_dict(read_weights(folder, policy.state_dict()))
        loaded = load_restorer(config.restorer, folder, device)
        if restorer and (found := loaded.scale(device)) != config.scale:
            raise BadInput(
                f"backbone.restorer {restorer} enlarges {found:g} times, the model in {folder} {config.scale} times: "
                "name a restorer of that scale"
            )
        if config.second_look and config.second_look_blocks > loaded.blocks:
            raise BadInput(
                f"backbone.second_look_blocks {config.second_look_blocks}: restorer {config.restorer} has "
                f"{loaded.blocks} residual blocks that can look again alone; take at most so many, or 0 for all of it"
            )
        return cls(config, policy, loaded, steps, device)

    def condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        return Condition.join([self._one(row, prompt) for row, prompt in zip(lr.split(1), prompts, strict=True)])

    def fresh_condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        rows = zip(lr.split(1), prompts, strict=True)
        return Condition.join([self._restored(row, prompt) for row, prompt in rows])

    @property
    def frozen_networks(self) -> tuple[nn.Module, ...]:
        return (self._restorer.network,)

    def _one(self, lr: Tensor, prompt: str) -> Condition:
        key = digests.of_bytes(repr((tuple(lr.shape), prompt)).encode() + lr.cpu().numpy().tobytes())
        if key not in self._kept:
            self._kept[key] = self._restored(lr.to(self.device), prompt)
            while len(self._kept) > 1 and sum(kept.bytes for kept in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _restored(self, lr: Tensor, prompt: str) -> Condition:
        upsampled = F.interpolate(lr, scale_factor=self.config.scale, mode="bicubic", align_corners=False).clamp(0, 1)
        kept = {LR: lr}
        if self.config.second_look and self.config.second_look_blocks:
            seen = self._restorer.look(lr, self.config.second_look_blocks)
            restored = seen.picture
            kept |= {FEATURES: seen.features, STATE: seen.state}
        else:
            restored = self._restorer(lr)
        condition = condition_of(upsampled, fix_colours(restored, upsampled, "wavelet"), (prompt,), self.config)
        return replace(condition, encodings={**condition.encodings, **kept})

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        return (3, height // self.config.detail, width // self.config.detail)

    def encode(self, images: Tensor) -> Tensor:
        return reduced(images.to(self.device, torch.float32), self.config.detail)

    def _decoded(self, latents: Tensor, condition: Condition) -> Tensor:
        picture = self._second_look(latents, condition) if self.config.second_look else condition.encodings[PICTURE]
        return projected(picture, latents, self.config.detail)

    def _second_look(self, latents: Tensor, condition: Condition) -> Tensor:
        """q `[B, 3, H, W]`; its colours are the projection's matter."""
        lr = condition.encodings[LR]
        correction = latents - condition.encodings[COARSE]
        if correction.shape != lr.shape:
            correction = F.interpolate(correction, size=lr.shape[-2:], mode="bicubic", antialias=True)
        strength, blocks = self.config.second_look, self.config.second_look_blocks
        if blocks == 0:
            return self._restorer((lr + strength * correction).clamp(0.0, 1.0))
        features, state = condition.encodings[FEATURES], condition.encodings[STATE]
        return self._restorer.look_again((lr + correction).clamp(0.0, 1.0), features, state, blocks, strength)

    def _picture(self, condition: Condition) -> Tensor:
        return condition.encodings[COARSE]

    def _unit(self, condition: Condition) -> Tensor:
        return condition.encodings[UNIT]

    def _context(self, condition: Condition) -> Tensor:
        return context(condition)


def _branch(config: RestorerFlowConfig) -> StochasticBranch:
    """With fresh weights."""
    return StochasticBranch(config.channels, config.blocks, config.embedding, config.dial)


def context(condition: Condition) -> Tensor:
    """What the branch sees beside the noisy residual, `[B, 7, H/d, W/d]`, each about 1 in size."""
    coarse, unit = condition.encodings[COARSE], condition.encodings[UNIT]
    disagreement = ((condition.encodings[SEEN] - coarse) / unit).clamp(-8.0, 8.0)
    return torch.cat([coarse * 2.0 - 1.0, disagreement, unit.log() + 3.0], dim=1)


def load(folder: Path, settings: RestorerFlowSettings, device: torch.device) -> RestorerFlow:
    """The model in `folder`, on the settings' restorer and sampled as they say.

    Raises:
        BadInput: as `RestorerFlow.load`.
    """
    model = RestorerFlow.load(folder, settings.steps, device, settings.restorer, look_of(settings))
    model.sampler = ResidualEuler(model.config.shift, settings.steps, settings.gain)
    return model


def saved_digests(settings: RestorerFlowSettings) -> tuple[str, str]:
    """Digests of the model that `load` would give, and of its sampler, without building the network.

    Raises:
        BadInput: a file is missing or damaged, or the model does not take so many steps. Whether weights and
            configuration fit together shows in `load`.
    """
    config = read_config(settings.path, settings.restorer, look_of(settings))
    sampler = ResidualEuler(config.shift, settings.steps, settings.gain)
    return model_digest(config, stored_weights(settings.path)), sampler.digest


def look_of(settings: RestorerFlowSettings) -> SecondLook:
    """The settings' second look."""
    return SecondLook(settings.second_look, settings.second_look_blocks)


def read_config(folder: Path, restorer: str = "", look: SecondLook = AS_SAVED) -> RestorerFlowConfig:
    """Configuration of a saved model, on its own restorer or on the named one, with its own second look or this one.

    Raises:
        BadInput: the file is missing, is not JSON, or has other keys; or its restorer is not what it was.
    """
    values = read_json(folder, "restorer_flow")
    try:
        lists = {key: tuple(values[key]) for key in ("channels", "blocks", "unit")}
        config = RestorerFlowConfig(**{**values, **lists})
    except (TypeError, KeyError) as error:
        raise BadInput(f"{folder / CONFIG} does not describe a restorer_flow model ({error})") from error
    if look.strength is not None:
        config = replace(config, second_look=look.strength)
    if look.blocks is not None:
        config = replace(config, second_look_blocks=look.blocks)
    if not config.second_look:
        config = replace(config, second_look_blocks=0)
    if restorer:
        return replace(config, restorer=restorer, restorer_digest=weights_digest(restorer, folder))
    found = weights_digest(config.restorer, folder)
    if config.restorer_digest != found:
        raise BadInput(
            f"{folder / CONFIG}: the branch was trained on restorer {config.restorer} with digest "
            f"{config.restorer_digest[:12]}, the one here has {found[:12]}; bring the right one, or say that you want "
            "this one with backbone.restorer"
        )
    return config
