"""What a stage may ask of a restoration model, whatever its family."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn

from components.storage.digests import seed_of

if TYPE_CHECKING:
    from components.backbones.samplers.base import Sampler

Branch = Literal["policy", "reference"]


@dataclass(frozen=True)
class Condition:
    """What the network sees of a batch of LR images, computed once per LR.

    Attributes:
        upsampled: LR at the output size, `[B, 3, H, W]` in [0, 1].
        prompts: one a row; empty strings where the backbone takes no text.
        encodings: what else a family computes once per LR, by name (text embeddings, VAE latents of the LR); rows
            first, `[B, ...]`.
    """

    upsampled: Tensor
    prompts: tuple[str, ...]
    encodings: Mapping[str, Tensor] = field(default_factory=dict)

    def repeat(self, *times: int) -> "Condition":
        """Each row so many times, neighbouring: rows a, b with 2, 3 become a, a, b, b, b; one number is for all."""
        each = times * len(self.prompts) if len(times) == 1 else times
        prompts = tuple(prompt for prompt, count in zip(self.prompts, each, strict=True) for _ in range(count))
        counts = torch.tensor(each, device=self.upsampled.device)
        encodings = {name: rows.repeat_interleave(counts, dim=0) for name, rows in self.encodings.items()}
        return Condition(self.upsampled.repeat_interleave(counts, dim=0), prompts, encodings)

    def to(self, device: torch.device) -> "Condition":
        """The same on another device."""
        encodings = {name: encoded.to(device) for name, encoded in self.encodings.items()}
        return Condition(self.upsampled.to(device), self.prompts, encodings)

    @property
    def bytes(self) -> int:
        """Memory of all tensors."""
        tensors = [self.upsampled, *self.encodings.values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def take(self, rows: list[int]) -> "Condition":
        """The given rows, in that order."""
        encodings = {name: encoded[rows] for name, encoded in self.encodings.items()}
        return Condition(self.upsampled[rows], tuple(self.prompts[row] for row in rows), encodings)

    @staticmethod
    def join(parts: Sequence["Condition"]) -> "Condition":
        """The rows of all parts, which have one size, one after the other."""
        prompts = tuple(prompt for part in parts for prompt in part.prompts)
        encodings = {name: torch.cat([part.encodings[name] for part in parts]) for name in parts[0].encodings}
        return Condition(torch.cat([part.upsampled for part in parts]), prompts, encodings)


Predictor = Callable[[Tensor, Tensor, Condition], Tensor]
"""`x` `[B, ...]`, `t` `[B]` and a condition of B rows to the prediction `[B, ...]` that a sampler's step takes."""


def gradients_of(branch: Branch) -> AbstractContextManager[Any]:
    """Within, no gradient flows through the reference; the policy's is as it was."""
    return torch.set_grad_enabled(branch == "policy" and torch.is_grad_enabled())


class Backbone(Protocol):
    """A diffusion or flow super-resolver with a trainable policy and a frozen reference."""

    policy: nn.Module
    """The trainable branch, float32; `accelerate` may wrap it in place. What does not require grad does not train."""

    device: torch.device
    """Where it runs."""

    @property
    def sampler(self) -> "Sampler[Any]":
        """The sampler that the settings of the backbone describe."""

    @property
    def scale(self) -> int:
        """Output side over LR side."""

    @property
    def sample_block(self) -> int | None:
        """Rows of every batch of `restore.sample_rows`; None for BLOCK of the device."""

    @property
    def stores_latents(self) -> bool:
        """Whether a candidate's latents are kept beside its image; False where `encode(image)` gives them again."""

    @property
    def has_dial(self) -> bool:
        """Whether the policy can be told a preference, see `backbones.dial`."""

    def add_dial(self) -> None:
        """Give the policy a dial that changes nothing yet; the reference gets none.

        Raises:
            BadInput: the family has no place for one.
        """

    def noise_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Shape of one candidate's whole noise for an output of height x width px: x_T and every stochastic step.

        The last two axes are the picture's; where there are several draws, x_T comes first: `(steps, C, h, w)`.
        """

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Shape of one clean latent x0 for an output of height x width px."""

    def condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        """Encode LR images `[B, 3, h, w]` in [0, 1] and prompts, once per LR."""

    def encode(self, images: Tensor) -> Tensor:
        """Images `[B, 3, H, W]` in [0, 1] to the clean latents x0 that `noised` takes; deterministic."""

    def decode(self, latents: Tensor, condition: Condition) -> Tensor:
        """Clean latents `[B, ...]` of LR images of B rows to images `[B, 3, H, W]` in [0, 1]."""

    def noised(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """x_t of clean latents, as `predict` takes it, and what is to be predicted; both of the latents' shape.

        Args:
            latents: clean x0 `[B, ...]`.
            condition: of B rows.
            t: time in (0, 1], `[B]`; 1 is pure noise.
            noise: epsilon, standard normal, of the latents' shape.
        """

    def predict(self, x: Tensor, t: Tensor, condition: Condition, branch: Branch) -> Tensor:
        """Epsilon, v or velocity of `x` `[B, ...]` at `t` `[B]`, as in training, float32: conditional, no guidance.

        No gradient flows through the reference.
        """

    def predictor(self, branch: Branch) -> Predictor:
        """`predict` as sampling wants it, for all steps of one sampling: with guidance, in the sampling's precision.

        It is of the branch as it is now; what training changes later it need not see.
        """

    def error(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor, branch: Branch) -> Tensor:
        """e(f, x0, epsilon, t): mean squared error of `predict` over C, H, W, `[B]` (docs/method.md, section 5).

        Arguments are those of `noised`, and the branch that predicts.
        """

    def errors(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """`error` of the policy and of the reference, both `[B]`; what is frozen and shared by both runs once."""

    def digest(self, branch: Branch) -> str:
        """sha256 of all weights that determine what `branch` predicts."""

    def save(self, folder: Path) -> None:
        """Write the policy into an existing folder, with its configuration (safetensors)."""

    def load_policy(self, folder: Path) -> None:
        """Replace the policy's weights by those of a saved folder; the reference stays.

        Raises:
            BadInput: the folder is missing, damaged, or holds another architecture.
        """


class Branches(Protocol):
    """What a mixture is told apart by, with or without networks in memory."""

    def digest(self, branch: Branch) -> str:
        """See `Backbone.digest`."""


class Mixture(Protocol):
    """Predictions of several branches made one, to be sampled from as if it were a branch."""

    def digest(self, branches: Branches) -> str:
        """sha256 of all weights and settings that determine what is predicted."""

    def predictor(self, backbone: Backbone, times: Tensor) -> Predictor:
        """See `Backbone.predictor`; `times` `[T]` are the sampling's, from the noisiest, for weights that follow them.

        All branches predict the same quantity at the same x and t, so a weighted sum of them is a prediction too.
        """


Source = Branch | Mixture
"""Who predicts."""


def digest_of(backbone: Backbone, source: Source) -> str:
    """sha256 of all that determines what `source` predicts."""
    return backbone.digest(source) if isinstance(source, str) else source.digest(backbone)


def candidate_seed(lr_id: str, index: int, number: int = 1) -> int:
    """Seed of candidate `index` of an LR in round `number`: a function of these alone, never of batch or worker."""
    return seed_of("candidate", lr_id, index, *(() if number == 1 else ("round", number)))


def candidate_noise(lr_id: str, index: int, shape: tuple[int, ...], number: int = 1) -> Tensor:
    """Standard normal noise `shape` of one candidate in round `number` (docs/objectives.md).

    Drawn on the CPU, whose generator is the same on every machine and for every device; moved by the caller.
    """
    generator = torch.Generator("cpu").manual_seed(candidate_seed(lr_id, index, number))
    return torch.randn(shape, generator=generator)
