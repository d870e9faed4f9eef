"""What every stage takes for granted of a backbone, tried on one: for people who bring their own model or family.

Each check asks for one promise of `Backbone`, on a picture that it makes. It costs a few restorations and one training
step; the model is as before afterwards.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components.backbones.base import Backbone, Condition, candidate_noise
from components.backbones.restore import restore
from components.errors import UserError

PROMPTS = ("a photo", "a street with trees")
T = 0.5
LEARNING_RATE = 1e-3
LOWEST_PSNR = 15.0
"""dB of a picture that is encoded and decoded; less is no picture of it."""


@dataclass(frozen=True)
class Outcome:
    """Of a check.

    Attributes:
        name: of the promise.
        holds: whether it does.
        seen: what was found.
        change: what to change where it does not hold.
    """

    name: str
    holds: bool
    seen: str
    change: str = ""


@dataclass(frozen=True)
class Bench:
    """A backbone on trial, and what it is tried on.

    Attributes:
        backbone: the model.
        lr: `[2, 3, h, w]` in [0, 1].
        tolerance: relative difference that rounding may make.
    """

    backbone: Backbone
    lr: Tensor
    tolerance: float

    def restored(self, rows: list[int], prompts: tuple[str, ...] = PROMPTS) -> Tensor:
        """Restorations of these rows by the policy, candidate 0 of each; what a family sees in one batch."""
        draws = [partial(candidate_noise, f"check {row}", 0) for row in rows]
        named = tuple(prompts[row] for row in rows)
        (samples,) = restore(self.backbone, self.lr[rows], named, draws, "none", "policy", block=len(rows))
        return samples.images

    def training(self) -> tuple[Tensor, Condition, Tensor, Tensor]:
        """Arguments of `errors`: latents, condition, t, noise."""
        model = self.backbone
        with torch.no_grad():
            condition = model.condition(self.lr, PROMPTS)
            latents = model.encode(_picture(1, 2, *condition.upsampled.shape[-2:]).to(model.device))
        noise = torch.randn(latents.shape, generator=torch.Generator("cpu").manual_seed(2)).to(model.device)
        return latents, condition, torch.full((len(latents),), T, device=model.device), noise


def check(backbone: Backbone, side: int, tolerance: float = 1e-3) -> Iterator[Outcome]:
    """Outcomes, one after the other; a check that raises has failed.

    Args:
        backbone: freshly loaded: its policy is its reference.
        side: of the LR pictures, px.
        tolerance: relative difference that rounding may make, in the precision of the sampling.
    """
    bench = Bench(backbone, _picture(0, 2, side, side).to(backbone.device), tolerance)
    for name, (run, change) in CHECKS.items():
        before = copy.deepcopy(backbone.policy.state_dict())
        try:
            seen, holds = run(bench)
        except UserError as error:
            seen, holds = str(error), False
        except Exception as error:  # noqa: BLE001  # somebody else's model
            seen, holds = f"{type(error).__name__}: {error}", False
        finally:
            backbone.policy.zero_grad(set_to_none=True)
            backbone.policy.load_state_dict(before)
        yield Outcome(name, holds, seen, "" if holds else change)


def _picture(seed: int, count: int, height: int, width: int) -> Tensor:
    """Smooth colours with some detail, `[count, 3, height, width]` in [0, 1]."""
    generator = torch.Generator("cpu").manual_seed(seed)
    coarse = torch.rand(count, 3, max(2, height // 8), max(2, width // 8), generator=generator)
    fine = torch.rand(count, 3, height, width, generator=generator)
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return (0.85 * smooth + 0.15 * fine).clamp(0, 1)


def _difference(one: Tensor, other: Tensor) -> float:
    """Largest difference over the other's root mean square."""
    scale = other.detach().float().pow(2).mean().sqrt().clamp_min(1e-12)
    return float(((one.detach() - other.detach()).float().abs().max() / scale).cpu())


def _size(bench: Bench) -> tuple[str, bool]:
    images = bench.restored([0, 1])
    wanted = (2, 3, *(length * bench.backbone.scale for length in bench.lr.shape[-2:]))
    low, high = float(images.min()), float(images.max())
    holds = tuple(images.shape) == wanted and 0.0 <= low <= high <= 1.0
    return f"{tuple(images.shape)} from {low:.3g} to {high:.3g}, for LR {tuple(bench.lr.shape)}", holds


def _determinism(bench: Bench) -> tuple[str, bool]:
    difference = _difference(bench.restored([0]), bench.restored([0]))
    return f"two restorations from the same noise differ by {difference:.1g}", difference == 0.0


def _seeds(bench: Bench) -> tuple[str, bool]:
    draws = [partial(candidate_noise, "check", index) for index in range(2)]
    (samples,) = restore(bench.backbone, bench.lr[:1], PROMPTS[:1], draws, "none", "policy", block=2)
    difference = _difference(samples.images[0], samples.images[1])
    return f"two seeds differ by {difference:.1g}", difference > 0.0


def _batch(bench: Bench) -> tuple[str, bool]:
    difference = _difference(bench.restored([0]), bench.restored([0, 1])[:1])
    return f"alone and beside another picture: {difference:.1g} apart", difference <= bench.tolerance


def _encoding(bench: Bench) -> tuple[str, bool]:
    model = bench.backbone
    with torch.no_grad():
        condition = model.condition(bench.lr, PROMPTS)
        picture = _picture(1, 2, *condition.upsampled.shape[-2:]).to(model.device)
        latents = model.encode(picture)
        again = model.encode(picture)
        decoded = model.decode(latents, condition)
    psnr = float(-10 * torch.log10((decoded.float() - picture).pow(2).mean().clamp_min(1e-10)))
    shape = model.latent_shape(*picture.shape[-2:])
    holds = torch.equal(latents, again) and psnr >= LOWEST_PSNR and tuple(latents.shape[1:]) == tuple(shape)
    same = "the same latents twice" if torch.equal(latents, again) else "other latents the second time"
    return f"{same}, {tuple(latents.shape[1:])} where latent_shape says {shape}; decoded {psnr:.1f} dB", holds


def _start(bench: Bench) -> tuple[str, bool]:
    policy, reference = bench.backbone.errors(*bench.training())
    difference = _difference(policy, reference)
    return f"errors of policy and reference are {difference:.1g} apart before any step", difference <= bench.tolerance


def _errors(bench: Bench) -> tuple[str, bool]:
    model, (latents, condition, t, noise) = bench.backbone, bench.training()
    policy, reference = model.errors(latents, condition, t, noise)
    x, target = model.noised(latents, condition, t, noise)
    with torch.no_grad():
        expected = (model.predict(x, t, condition, "policy") - target).pow(2).flatten(1).mean(1)
    shapes = {tuple(one.shape) for one in (policy, reference)}
    finite = bool(torch.isfinite(policy).all() and torch.isfinite(reference).all())
    difference = _difference(policy, expected)
    holds = shapes == {(2,)} and policy.dtype == torch.float32 and finite and difference <= bench.tolerance
    return f"{policy.dtype} of shape {sorted(shapes)}, {difference:.1g} from mean (predict - target)^2", holds


def _rows(bench: Bench) -> tuple[str, bool]:
    latents, condition, t, noise = bench.training()
    both, _ = bench.backbone.errors(latents, condition, t, noise)
    alone, _ = bench.backbone.errors(latents[:1], condition.take([0]), t[:1], noise[:1])
    difference = _difference(alone, both[:1])
    return f"a row's error alone and beside another: {difference:.1g} apart", difference <= bench.tolerance


def _gradients(bench: Bench) -> tuple[str, bool]:
    model = bench.backbone
    policy, reference = model.errors(*bench.training())
    (policy.sum() + (reference.sum() if reference.requires_grad else 0.0)).backward()
    trainable = [one for one in model.policy.parameters() if one.requires_grad]
    moved = sum(one.grad is not None and bool((one.grad != 0).any()) for one in trainable)
    own = {id(one) for one in model.policy.parameters()}
    stray = sorted(
        f"{name}.{inner}"
        for name, module in _modules(model)
        for inner, one in module.named_parameters()
        if id(one) not in own and one.grad is not None
    )
    told = f", and {', '.join(stray[:3])} outside the policy" if stray else ""
    return f"{moved} of the policy's {len(trainable)} trainable parameters have a gradient{told}", bool(
        moved
    ) and not stray


def _modules(model: Any) -> list[tuple[str, nn.Module]]:
    return [(name, value) for name, value in vars(model).items() if isinstance(value, nn.Module)]


def _frozen(bench: Bench) -> tuple[str, bool]:
    model, arguments = bench.backbone, bench.training()
    digest, policy_digest = model.digest("reference"), model.digest("policy")
    policy, reference = model.errors(*arguments)
    policy.sum().backward()
    with torch.no_grad():
        for one in model.policy.parameters():
            if one.grad is not None:
                one.sub_(LEARNING_RATE * one.grad.sign())
    stepped, after = model.errors(*arguments)
    changed = [
        what
        for what, is_wrong in {
            "the reference's errors changed": not torch.equal(reference, after),
            "its digest changed": model.digest("reference") != digest,
            "the policy's errors did not change": torch.equal(policy, stepped),
            "the policy's digest did not change": model.digest("policy") == policy_digest,
        }.items()
        if is_wrong
    ]
    return f"after a step of the policy: {', '.join(changed) or 'it changed, the reference did not'}", not changed


def _saved(bench: Bench) -> tuple[str, bool]:
    model = bench.backbone
    with torch.no_grad():
        for one in model.policy.parameters():
            if one.requires_grad:
                one.add_(LEARNING_RATE)
    digest, picture = model.digest("policy"), bench.restored([0])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder)
        with torch.no_grad():
            for one in model.policy.parameters():
                if one.requires_grad:
                    one.zero_()
        model.load_policy(folder)
    same = model.digest("policy") == digest
    difference = _difference(bench.restored([0]), picture)
    told = "same digest" if same else "another digest"
    return f"saved and loaded: {told}, restorations {difference:.1g} apart", same and difference == 0.0


CHECKS: dict[str, tuple[Callable[[Bench], tuple[str, bool]], str]] = {
    "size and range": (_size, "decode must give [B, 3, scale * h, scale * w] in [0, 1], clamped"),
    "determinism": (
        _determinism,
        "draw nothing: all noise is given; put dropout and batch norm into eval mode",
    ),
    "seeds count": (_seeds, "the sampler must start from the noise that it is given"),
    "batch independence": (_batch, "no row may depend on another: no batch statistics, no mean over the batch"),
    "encode and decode": (
        _encoding,
        "encode must be deterministic (a VAE's mode), and decode undo it as far as it can",
    ),
    "policy starts as reference": (_start, "load the same weights into both branches; DPO's loss is ln 2 at step 0"),
    "errors": (_errors, "error is the mean over C, H, W of (predict - target)^2, [B], float32"),
    "rows of errors": (_rows, "no row's error may depend on another row"),
    "gradients": (
        _gradients,
        "only the policy may have gradients: freeze the rest; call the reference without grad",
    ),
    "frozen reference": (_frozen, "the reference is a copy (copy.deepcopy), never the policy's own modules"),
    "save and load": (_saved, "save writes every weight that trains, and load_policy reads them back"),
}
"""By the promise's name: what tries it, and what to change where it does not hold."""
