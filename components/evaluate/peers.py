"""Restorers to compare with that this project did not train: bicubic interpolation and Real-ESRGAN.

Real-ESRGAN's networks are those of `backbones.restorers`; `realesrgan_fixed` has the LR's colours, as the embedded
model's condition has them: what a user would take, and what the model stands on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from components.artifacts.images import to_8bit, to_tensor
from components.backbones.colour import fix_colours
from components.backbones.restorers.restorer import files_of, load_restorer, weights_digest
from components.errors import BadInput
from components.judge.restorers import CODE_VERSION, Models, Restore, Restorer
from components.storage import digests

REALESRGAN = {
    "realesrgan": "realesrgan-x4plus",
    "realesrgan_fixed": "realesrgan-x4plus",
    "realesr_animevideo": "realesr-animevideov3",
}
"""Peer to restorer: RRDBNet with 16.7 M weights (.5 s a 32 px image on one CPU thread), SRVGG with 0.6 M (.02 s)."""
REALESRGAN_SCALE = 4


@dataclass(frozen=True)
class Peer:
    """A deterministic restorer.

    Attributes:
        name: as in settings.
        digest: sha256 of all that determines its output.
        restore: LR `[B, 3, h, w]` in [0, 1] to `[B, 3, scale * h, scale * w]` in [0, 1].
    """

    name: str
    digest: str
    restore: Callable[[Tensor], Tensor]


def load_peer(name: str, scale: int, device: torch.device) -> Peer:
    """Peer `name` for images of `scale`.

    Raises:
        BadInput: no such peer, it cannot do `scale`, or its package is missing or damaged.
    """
    digest = peer_digest(name, scale)
    if name == "bicubic":
        return Peer(name, digest, lambda lr: bicubic(lr, scale))
    restorer = load_restorer(REALESRGAN[name], Path(), device)
    if name != "realesrgan_fixed":
        return Peer(name, digest, lambda lr: restorer(lr.to(device)).cpu())

    def fixed(lr: Tensor) -> Tensor:
        return fix_colours(restorer(lr.to(device)), bicubic(lr.to(device), scale), "wavelet").cpu()

    return Peer(name, digest, fixed)


def peer_digest(name: str, scale: int) -> str:
    """`load_peer(name, scale).digest`, without its network.

    Raises:
        BadInput: as `load_peer`.
    """
    if name == "bicubic":
        return digests.of_json(["bicubic", scale])
    if name not in REALESRGAN:
        known = ", ".join(["bicubic", *REALESRGAN])
        raise BadInput(f"evaluate.peers: there is no peer {name!r}; the peers are {known}")
    if scale != REALESRGAN_SCALE:
        raise BadInput(f"evaluate.peers: {name} enlarges by {REALESRGAN_SCALE}, prepare.scale is {scale}; remove it")
    files_of(REALESRGAN[name], Path())  # a package that is missing shows before any work is done
    weights = weights_digest(REALESRGAN[name], Path())
    return digests.of_json([weights, "wavelet"]) if name == "realesrgan_fixed" else weights


def bicubic(lr: Tensor, scale: int) -> Tensor:
    """`[B, 3, h, w]` in [0, 1] enlarged by bicubic interpolation, clamped."""
    return F.interpolate(lr, scale_factor=scale, mode="bicubic", align_corners=False).clamp(0.0, 1.0)


def peer_restorer(name: str, scale: int, device: torch.device) -> Restorer:
    """A peer gives one restoration an image.

    Raises:
        BadInput: as `load_peer`.
    """
    own = peer_digest(name, scale)
    return Restorer(name, digests.of_json([CODE_VERSION, name, own]), own, _Peer(name, scale, device))


@dataclass(frozen=True)
class _Peer:
    name: str
    scale: int
    device: torch.device

    def __call__(self, models: Models) -> Restore:
        peer = load_peer(self.name, self.scale, self.device)
        return lambda image: list(to_8bit(peer.restore(to_tensor(image.lr))))
