"""The recipe of the embedded base model: `python -m recipes.restorer_flow --photos data/extended`.

First a pool of crops is restored (`restored_crops`), then the branch learns on patches cut from them. A kill loses at
most the steps since the last checkpoint (`--out`/pretraining.pt); the same command continues.
"""

import argparse
import copy
import json
import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.artifacts.images import to_tensor
from components.backbones.base import Condition
from components.backbones.residual_flow import write_model
from components.backbones.restorer_flow import (
    RestorerFlow,
    RestorerFlowConfig,
    condition_of,
    energies,
    reduced,
)
from components.backbones.samplers.residual_euler import ResidualEuler
from components.backbones.upsampling import upsample
from components.progress import progress
from components.storage.digests import seed_of
from components.storage.publish import atomic_file, atomic_folder
from recipes.photo_crops import read_photos
from recipes.restored_crops import CROP, SCALE, SHARES, Crops, pool

logger = logging.getLogger("dp2o.recipes")

HELD_OUT = 0.1
EMA_DECAY = 0.999
CHECKPOINT = "pretraining.pt"
LEAST_U = 0.03
"""Noise levels are the sampler's sigma(u) for u drawn evenly from [LEAST_U, 1]: the chain never asks for lower ones."""


@dataclass(frozen=True)
class Pool:
    """The pool as tensors, 8-bit `[N, 3, 128, 128]`; the patches are cut from these."""

    upsampled: Tensor
    restored: Tensor
    hr: Tensor

    def patches(self, size: int, batch: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Enlarged LR, restored and HR `[B, 3, size, size]` at random places, at any pixel: no grid keeps its phase."""
        rows: dict[str, list[Tensor]] = {"upsampled": [], "restored": [], "hr": []}
        for _ in range(batch):
            number = int(rng.integers(len(self.hr)))
            top, left = (int(place) for place in rng.integers(CROP - size + 1, size=2))
            turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
            for name, cut in rows.items():
                whole = getattr(self, name)[number]
                patch = torch.rot90(whole[:, top : top + size, left : left + size], turns, (1, 2))
                cut.append(patch.flip(2) if mirrored else patch)
        upsampled, picture, hr = (torch.stack(rows[name]).float() / 255.0 for name in ("upsampled", "restored", "hr"))
        return upsampled, picture, hr


def tensors(crops: Crops) -> Pool:
    """The pool of `crops`."""
    upsampled = [
        (upsample(to_tensor(*crops.lr[start : start + 100]), SCALE, 2**30) * 255.0).round().to(torch.uint8)
        for start in range(0, len(crops.lr), 100)
    ]
    restored, hr = (torch.from_numpy(part).permute(0, 3, 1, 2).contiguous() for part in (crops.restored, crops.hr))
    return Pool(torch.cat(upsampled), restored, hr)


def fit_unit(crops: Crops, detail: int, count: int = 600) -> tuple[float, ...]:
    """The coefficients of log s^2 under which the residuals of the first `count` crops are likeliest as Gaussians."""
    enlarged = reduced(upsample(to_tensor(*crops.lr[:count]), SCALE, 2**30), detail)
    picture, hr = (reduced(to_tensor(*part[:count]), detail) for part in (crops.restored, crops.hr))
    seen = energies(picture, enlarged)[:, :, ::3, ::3].double()
    square = (hr - picture).square().mean(dim=1, keepdim=True)[:, :, ::3, ::3].double()
    weights = torch.zeros(seen.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        log_square = (seen * weights.view(1, -1, 1, 1)).sum(dim=1, keepdim=True)
        loss = (log_square + (square + 1e-5) * (-log_square).exp()).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return tuple(round(float(value), 4) for value in weights.detach())


def weighted_loss(model: RestorerFlow, condition: Condition, hr: Tensor, generator: torch.Generator) -> Tensor:
    """Mean velocity error at random noise levels, times sigma: between the residual's error and the velocity's."""
    least = LEAST_U
    u = torch.rand(len(hr), generator=generator).mul(1.0 - least).add(least)
    t = torch.tensor([sigma_of(float(value), model.config.shift) for value in u]).to(model.device)
    latents = model.encode(hr)
    noise = torch.randn(latents.shape, generator=generator).to(model.device)
    errors = model.squared_errors(latents, condition, t, noise, "policy")
    return (t.view(-1, 1, 1, 1) * errors).mean()


def sigma_of(u: float, shift: float) -> float:
    """The sampler's noise level at even time u."""
    return shift * u / (1.0 + (shift - 1.0) * u)


def batches(pool_of: Pool, size: int, batch: int, seed: int, start: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Endless batches from `start` on, one ahead; batch k depends on (seed, k) alone."""

    def batch_of(step: int) -> tuple[Tensor, Tensor, Tensor]:
        return pool_of.patches(size, batch, np.random.default_rng(seed_of("patches", seed, step)))

    with ThreadPoolExecutor(max_workers=1) as thread:
        following = thread.submit(batch_of, start)
        while True:
            ready = following.result()
            start += 1
            following = thread.submit(batch_of, start)
            yield ready


def rate_of(step: int, arguments: argparse.Namespace) -> float:
    """Learning rate of a step, as a part of `--lr`: warm-up, then a cosine over `--horizon`."""
    if step < arguments.warmup:
        return step / float(arguments.warmup)
    done = (step - arguments.warmup) / (arguments.horizon - arguments.warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


@torch.no_grad()
def follow(average: torch.nn.Module, policy: torch.nn.Module, decay: float) -> None:
    """Move the average towards the policy."""
    for kept, new in zip(average.parameters(), policy.parameters(), strict=True):
        kept.lerp_(new, 1.0 - decay)


def described(crops: Crops, arguments: argparse.Namespace) -> RestorerFlowConfig:
    """The model that the arguments ask for, its unit fitted to the pool."""
    return RestorerFlowConfig(
        scale=SCALE,
        kappa=arguments.kappa,
        shift=arguments.shift,
        channels=tuple(arguments.channels),
        blocks=tuple(arguments.blocks),
        restorer=arguments.restorer,
        detail=arguments.detail,
        unit=fit_unit(crops, arguments.detail),
        second_look=arguments.second_look,
        second_look_blocks=arguments.second_look_blocks,
    )


def train(crops: Crops, out: Path, arguments: argparse.Namespace) -> None:
    """Train with AdamW and an exponential moving average; the average is what is saved."""
    device = torch.device(arguments.device)
    config = described(crops, arguments)
    levels = [round(level, 2) for level in ResidualEuler(config.shift, 8).levels]
    logger.info("unit %s, noise levels of 8 steps %s", config.unit, levels)
    torch.manual_seed(arguments.seed)
    model = RestorerFlow.new(config, 1, device)
    model.policy.to(memory_format=torch.channels_last)
    average = copy.deepcopy(model.policy).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.policy.parameters(), lr=arguments.lr, weight_decay=1e-4, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_of(step, arguments))
    start = 0
    if (out / CHECKPOINT).is_file():
        state = torch.load(out / CHECKPOINT, map_location=device, weights_only=True)
        model.policy.load_state_dict(state["policy"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        start = state["step"]
        logger.info("continuing at step %d", start)
    stream = batches(tensors(crops), arguments.patch, arguments.batch, arguments.seed, start)
    log = (out / "pretraining.csv").open("a")
    began = time.monotonic()
    recent = None
    for step in progress(range(start, arguments.steps), initial=start, total=arguments.steps, desc="pretrain"):
        upsampled, picture, hr = (part.to(device) for part in next(stream))
        condition = condition_of(upsampled, picture, ("",) * len(hr), model.config)
        generator = torch.Generator("cpu").manual_seed(seed_of("noise", arguments.seed, step))
        with torch.autocast(device.type, torch.bfloat16, enabled=arguments.bf16):
            loss = weighted_loss(model, condition, hr, generator)
            recent = loss.item() if recent is None else 0.99 * recent + 0.01 * loss.item()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.policy.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        follow(average, model.policy, min(EMA_DECAY, (1 + step) / (10 + step)))
        if (step + 1) % 100 == 0:
            log.write(f"{step + 1},{recent:.5f},{time.monotonic() - began:.0f}\n")
            log.flush()
        if (step + 1) % arguments.checkpoint_every == 0 or step + 1 == arguments.steps:
            state = {
                "policy": model.policy.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "step": step + 1,
            }
            save(out, model.config, state, arguments)


def save(out: Path, config: RestorerFlowConfig, state: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Publish the checkpoint to continue from, and the averaged model so far with its recipe."""
    with atomic_file(out / CHECKPOINT) as temporary:
        torch.save(state, temporary)
    recipe = {name: value for name, value in vars(arguments).items() if name not in {"photos", "out"}}
    with atomic_folder(out / "model") as folder:
        write_model(folder, config, state["average"])
        content = recipe | {"done": state["step"], "degradations": SHARES}
        (folder / "recipe.json").write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("data/extended"), help="folder of training photos")
    parser.add_argument("--out", type=Path, default=Path("cache/base"), help="folder for the pool and the checkpoints")
    parser.add_argument("--crops", type=int, default=4200, help="restored crops of 128 px, a multiple of 100")
    parser.add_argument("--restorer", default="realesrgan-x4plus", help="shipped restorer, or an ncnn .param file")
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--horizon", type=int, default=18000, help="steps over which the learning rate would reach 0")
    parser.add_argument("--batch", type=int, default=16, help="patches a step")
    parser.add_argument("--patch", type=int, default=64, help="HR patch side, px")
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--kappa", type=float, default=0.7)
    parser.add_argument("--shift", type=float, default=4.0, help="of the sampler's steps; noise levels are drawn by it")
    parser.add_argument("--detail", type=int, default=4, help="how many times smaller the latents are than the picture")
    parser.add_argument("--second-look", type=float, default=4.0, help="of the decoder; the training does not see it")
    parser.add_argument("--second-look-blocks", type=int, default=4, help="of the decoder, see RestorerFlowConfig")
    parser.add_argument("--channels", type=int, nargs="+", default=[16, 48, 96, 160])
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 2, 3, 2])
    parser.add_argument("--bf16", action="store_true", help="autocast: 1.6 times faster where the processor has it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--checkpoint-every", type=int, default=500)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
    arguments.out.mkdir(parents=True, exist_ok=True)
    training, _ = read_photos(arguments.photos, HELD_OUT)
    crops = pool(training, arguments.crops, arguments.restorer, arguments.seed, arguments.out / "training")
    train(crops, arguments.out, arguments)


if __name__ == "__main__":
    main()
