"""What a stage may ask of a restoration model, whatever its family."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from components.artifacts.digests import seed_of

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


@dataclass(frozen=True)
class Samples:
    """Restorations of one LR.

    Attributes:
        images: `[M, 3, H, W]` in [0, 1], colour-fixed, what the metrics see.
        latents: clean x0 as `error` takes it, before the decoder, `[M, ...]`; None where `encode(images)` gives the
            same without loss.
    """

    images: Tensor
    latents: Tensor | None


class Backbone(Protocol):
    """A diffusion or flow super-resolver with a trainable policy and a frozen reference."""

    policy: nn.Module
    """The trainable branch, float32; `accelerate` may wrap it in place. What does not require grad does not train."""

    device: torch.device
    """Where it runs."""

    @property
    def scale(self) -> int:
        """Output side over LR side."""

    @property
    def sample_block(self) -> int | None:
        """Rows of every batch of `sample_rows`; None for BLOCK of the device."""

    def noise_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Shape of one candidate's whole noise for an output of height x width px: x_T and every stochastic step.

        The last two axes are the picture's; where there are several draws, x_T comes first: `(steps, C, h, w)`.
        """

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Shape of one clean latent x0 for an output of height x width px."""

    def condition(self, lr: Tensor, prompts: tuple[str, ...]) -> Condition:
        """Encode LR images `[B, 3, h, w]` in [0, 1] and prompts, once per LR."""

    def sample(self, condition: Condition, noise: Tensor, branch: Branch = "policy") -> Samples:
        """Restore: row i of `condition` with row i of `noise` `[M, *noise_shape]`, in one batch.

        The last bits of a row may depend on M, see `sample_rows`.
        """

    def encode(self, images: Tensor) -> Tensor:
        """Images `[B, 3, H, W]` in [0, 1] to the clean latents x0 that `error` takes; deterministic."""

    def error(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor, branch: Branch) -> Tensor:
        """e(f, x0, epsilon, t): mean squared error over C, H, W, float32 `[B]` (docs/method.md, section 5).

        Args:
            latents: clean x0 `[B, ...]`.
            condition: of B rows.
            t: time in (0, 1], `[B]`; 1 is pure noise.
            noise: epsilon, standard normal, of the latents' shape.
            branch: which copy of the trainable branch predicts. No gradient flows through the reference.
        """

    def errors(self, latents: Tensor, condition: Condition, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """`error` of the policy and of the reference, both `[B]`; what is frozen and shared by both runs once."""

    def digest(self, branch: Branch) -> str:
        """sha256 of all weights that determine what `branch` predicts."""

    def sampler_digest(self) -> str:
        """sha256 of all sampling settings."""

    def save(self, folder: Path) -> None:
        """Write the policy into an existing folder, with its configuration (safetensors)."""

    def load_policy(self, folder: Path) -> None:
        """Replace the policy's weights by those of a saved folder; the reference stays.

        Raises:
            BadInput: the folder is missing, damaged, or holds another architecture.
        """


BLOCK = {"cpu": 4, "cuda": 16}
"""Rows of every batch of `sample_rows`, by device; 4 rows are as fast as 16 on a CPU."""


def sample_rows(backbone: Backbone, condition: Condition, noise: Tensor, branch: Branch) -> Samples:
    """`backbone.sample`, but on one machine a row's bits depend on that row alone, not on M or its place in the batch.

    oneDNN and cuDNN pick other kernels for other batch sizes, and those differ in their last bits. So all batches are
    of BLOCK (or `sample_block`) rows, and the last is filled up with copies, whose cost is the price: ask for many rows
    at once.
    """
    count = len(noise)
    block = backbone.sample_block or BLOCK.get(condition.upsampled.device.type, BLOCK["cpu"])
    images, latents = [], []
    for start in range(0, count, block):
        rows = [min(row, count - 1) for row in range(start, start + block)]
        samples = backbone.sample(condition.take(rows), noise[rows], branch)
        images.append(samples.images[: count - start])
        if samples.latents is not None:
            latents.append(samples.latents[: count - start])
    return Samples(torch.cat(images), torch.cat(latents) if latents else None)


def candidate_seed(lr_id: str, index: int) -> int:
    """Seed of candidate `index` of an LR: a function of the two alone, never of batch, order or worker."""
    return seed_of("candidate", lr_id, index)


def candidate_noise(lr_id: str, index: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise `shape` of one candidate.

    Drawn on the CPU, whose generator is the same on every machine and for every device; moved by the caller.
    """
    generator = torch.Generator("cpu").manual_seed(candidate_seed(lr_id, index))
    return torch.randn(shape, generator=generator)
