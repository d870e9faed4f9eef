"""The recipe of the embedded base model: `python -m recipes.tiny_flow --photos data/extended`.

A kill loses at most the steps since the last checkpoint (`--out`/pretraining.pt); the same command continues.
"""

import argparse
import copy
import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.optimization import get_cosine_schedule_with_warmup
from torch import Tensor

from components.artifacts.images import to_tensor
from components.backbones.residual_flow import write_model
from components.backbones.tiny_flow import TinyFlow, TinyFlowConfig
from components.photos.degradation import degrade
from components.progress import progress
from components.settings import Settings, load_settings
from components.storage.publish import atomic_file, atomic_folder
from recipes.photo_crops import Image8, draw_crop, read_photos, stream

logger = logging.getLogger("dp2o.pretrain")

HELD_OUT = 0.1
EMA_DECAY = 0.999
CHECKPOINT = "pretraining.pt"
T_MIN = 0.1
"""Noise levels are drawn uniformly from [T_MIN, 1]: the sampler's last step starts at 1/steps, above it."""
WINDOW = 9
"""Side of the neighbourhood whose activity sets a pixel's weight, px."""
ACTIVITY_FLOOR = 0.3
"""Added to the relative activity: the smoothest areas weigh 4 times the average."""


def statistics(photos: list[Image8], settings: Settings, config: TinyFlowConfig, seed: int) -> tuple[float, float]:
    """Of 256 training crops: standard deviation of HR - up(LR), in [0, 1] image units, and mean activity of up(LR)."""
    rng = np.random.default_rng(seed)
    probe = TinyFlow.new(config, 1, torch.device("cpu"))
    residuals, activities = [], []
    for _ in range(256):
        hr = draw_crop(photos, settings.prepare.crop, rng)
        lr, _ = degrade(hr, rng, settings.prepare.degradation, config.scale)
        upsampled = probe.condition(to_tensor(lr), ("",)).upsampled
        residuals.append(to_tensor(hr) - upsampled)
        activities.append(activity(upsampled).mean())
    return float(torch.cat(residuals).std()), float(torch.stack(activities).mean())


def activity(upsampled: Tensor) -> Tensor:
    """Local energy of the fine structure of `[B, 3, H, W]`: mean square high-pass over WINDOW px, `[B, 1, H, W]`."""
    blurred = F.avg_pool2d(upsampled, 5, stride=1, padding=2, count_include_pad=False)
    energy = (upsampled - blurred).square().mean(dim=1, keepdim=True)
    return F.avg_pool2d(energy, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)


def smooth_weight(upsampled: Tensor, mean_activity: float) -> Tensor:
    """Weight of each pixel's error, `[B, 1, H, W]`: large where the LR image is smooth.

    A smooth area's residual has a hundredth of a texture's energy, so an unweighted error hardly sees the speckle that
    the eye sees first. The weight depends on the condition alone, so the minimiser stays the conditional mean.
    """
    return 1.0 / (activity(upsampled) / mean_activity + ACTIVITY_FLOOR)


def weighted_loss(model: TinyFlow, lr: Tensor, hr: Tensor, generator: torch.Generator, mean_activity: float) -> Tensor:
    """Mean over pixels of the velocity error of `[B, 3, H, W]` crops at random noise levels, weighted by both."""
    clean = model.encode(hr)
    t = torch.rand(len(hr), generator=generator).mul(1.0 - T_MIN).add(T_MIN).to(model.device)
    noise = torch.randn(clean.shape, generator=generator).to(model.device)
    condition = model.condition(lr, ("",) * len(hr))
    # The velocity error divides the residual's by sigma squared: unweighted, nearly all of the gradient would teach
    # the network to copy almost clean input, and the samples would keep their noise.
    weight = t.view(-1, 1, 1, 1) * smooth_weight(condition.upsampled, mean_activity)
    return (weight * model.squared_errors(clean, condition, t, noise, "policy")).mean()


def new_model(
    settings: Settings, photos: list[Image8], arguments: argparse.Namespace, device: torch.device
) -> tuple[TinyFlow, TinyFlowConfig, float]:
    """The model that training starts from, its configuration, and the mean activity of its crops."""
    torch.manual_seed(arguments.seed)
    config = TinyFlowConfig(
        scale=settings.prepare.scale,
        unshuffle=arguments.unshuffle,
        channels=tuple(arguments.channels),
        kappa=arguments.kappa,
        shift=arguments.shift,
    )
    deviation, mean_activity = statistics(photos, settings, config, arguments.seed)
    config = TinyFlowConfig(**{**vars(config), "residual_std": deviation})
    torch.manual_seed(arguments.seed)
    model = TinyFlow.new(config, settings.backbone.steps, device)
    if arguments.init:
        model.load_policy(arguments.init)
    return model, config, mean_activity


def train(settings: Settings, photos: list[Image8], out: Path, arguments: argparse.Namespace) -> None:
    """Train with AdamW and an exponential moving average; the average is what is saved."""
    device = torch.device(arguments.device)
    model, config, mean_activity = new_model(settings, photos, arguments, device)
    average = copy.deepcopy(model.policy).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.policy.parameters(), lr=arguments.lr, weight_decay=1e-4, betas=(0.9, 0.99))
    schedule = get_cosine_schedule_with_warmup(optimizer, arguments.warmup, arguments.steps)
    start = 0
    if (out / CHECKPOINT).is_file():
        state = torch.load(out / CHECKPOINT, map_location=device, weights_only=True)
        model.policy.load_state_dict(state["policy"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        start = state["step"]
        logger.info("continuing at step %d", start)

    def degraded(hr: Image8, rng: np.random.Generator) -> Image8:
        lr, _ = degrade(hr, rng, settings.prepare.degradation, config.scale)
        return lr

    batches = stream(photos, arguments.crop, arguments.batch, degraded, arguments.seed, start)
    log = (out / "pretraining.csv").open("a")
    began = time.monotonic()
    smooth_loss = None
    for step in progress(range(start, arguments.steps), initial=start, total=arguments.steps, desc="pretrain"):
        lr, hr = next(batches)
        generator = torch.Generator("cpu").manual_seed(arguments.seed * 1_000_003 + step)
        loss = weighted_loss(model, to_tensor(*lr), to_tensor(*hr), generator, mean_activity)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.policy.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        decay = min(EMA_DECAY, (1 + step) / (10 + step))
        with torch.no_grad():
            for kept, new in zip(average.parameters(), model.policy.parameters(), strict=True):
                kept.lerp_(new, 1.0 - decay)
        smooth_loss = loss.item() if smooth_loss is None else 0.98 * smooth_loss + 0.02 * loss.item()
        if (step + 1) % 50 == 0:
            log.write(f"{step + 1},{smooth_loss:.5f},{time.monotonic() - began:.0f}\n")
            log.flush()
        if (step + 1) % arguments.checkpoint_every == 0 or step + 1 == arguments.steps:
            state = {
                "policy": model.policy.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "step": step + 1,
            }
            save(out, config, state, arguments)


def save(out: Path, config: TinyFlowConfig, state: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Publish the checkpoint to continue from, and the averaged model so far with its recipe."""
    with atomic_file(out / CHECKPOINT) as temporary:
        torch.save(state, temporary)
    recipe = {name: value for name, value in vars(arguments).items() if name not in {"photos", "out", "params", "init"}}
    with atomic_folder(out / "model") as folder:
        write_model(folder, config, state["average"])
        (folder / "recipe.json").write_text(json.dumps(recipe | {"done": state["step"]}, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("data/extended"), help="folder of training photos")
    parser.add_argument("--out", type=Path, default=Path("cache/pretrain"), help="folder for checkpoints and the model")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="crop, scale and degradation settings")
    parser.add_argument("--steps", type=int, default=13000)
    parser.add_argument("--init", type=Path, help="folder of a saved model to start from, instead of fresh weights")
    parser.add_argument("--batch", type=int, default=8, help="crops a step")
    parser.add_argument("--crop", type=int, default=64, help="HR crop side, px")
    parser.add_argument("--lr", type=float, default=7e-4)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--kappa", type=float, default=0.7)
    parser.add_argument(
        "--shift", type=float, default=5.0, help="of the sampler's steps; kept with the model, not used here"
    )
    parser.add_argument("--unshuffle", type=int, default=2)
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64, 96])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--checkpoint-every", type=int, default=1000)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
    arguments.out.mkdir(parents=True, exist_ok=True)
    settings = load_settings(arguments.params)
    training, _ = read_photos(arguments.photos, HELD_OUT)
    train(settings, training, arguments.out, arguments)


if __name__ == "__main__":
    main()
