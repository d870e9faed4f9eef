"""Figures of the embedded base model on held-out photos, beside its peers: `python -m benchmarks.base_model`.

The held-out photos are those of the extended set that `components.backbones.pretrain` keeps back by their names.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from components.artifacts.images import to_8bit, to_tensor
from components.backbones.base import candidate_noise
from components.backbones.photo_crops import draw_crop, read_photos
from components.backbones.pretrain import HELD_OUT
from components.backbones.tiny_flow import TinyFlow
from components.evaluate.peers import load_peer
from components.metrics.suite import Suite
from components.prepare.crops import texture
from components.prepare.degradation import degrade
from components.settings import load_settings

METRICS = ["stlpips", "stlpips-vgg", "psnr", "ssim", "rank_effnet"]
SMOOTH = 4.0
"""A crop whose mean absolute Laplacian is below this many grey levels counts as smooth."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("data/extended"))
    parser.add_argument("--model", type=Path, help="folder; default backbone.path of params.yaml")
    parser.add_argument("--crops", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, help="Euler steps; default backbone.steps of params.yaml")
    parser.add_argument("--peers", nargs="*", default=["realesr_animevideo", "realesrgan"])
    parser.add_argument("--sheet", type=Path, help="write a picture: LR, two seeds, each peer, HR a row")
    parser.add_argument("--json", type=Path, help="write the figures")
    arguments = parser.parse_args()
    settings = load_settings()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = TinyFlow.load(arguments.model or settings.backbone.path, arguments.steps or settings.backbone.steps, device)
    _, photos = read_photos(arguments.photos, HELD_OUT)
    suite = Suite.load(METRICS, device)
    peers = {name: load_peer(name, settings.prepare.scale, device) for name in arguments.peers}
    rng = np.random.default_rng(20)
    collected: dict[str, list[NDArray[np.float64]]] = {}
    smooth: list[bool] = []
    rows: list[NDArray[np.uint8]] = []
    for number in tqdm(range(arguments.crops), desc="held-out crops", unit="crop"):
        hr = draw_crop(photos, settings.prepare.crop, rng)
        lr, _ = degrade(hr, rng, settings.prepare.degradation, settings.prepare.scale)
        smooth.append(texture(hr) < SMOOTH)
        condition = model.condition(to_tensor(lr), ("",))
        shape = model.noise_shape(*hr.shape[:2])
        noise = torch.stack([candidate_noise(f"base model {number}", seed, shape) for seed in range(arguments.seeds)])
        ours = to_8bit(model.sample(condition.repeat(arguments.seeds), noise).images)
        others = [
            to_8bit(condition.upsampled)[0],
            *(to_8bit(peer.restore(to_tensor(lr)))[0] for peer in peers.values()),
        ]
        values = suite.score(to_tensor(*ours, *others), to_tensor(hr), to_tensor(lr)).values
        for name, column in values.items():
            collected.setdefault(name, []).append(column)
        if arguments.sheet and len(rows) < 16:
            rows.append(np.concatenate([others[0], ours[0], ours[1], *others[1:], hr], axis=1))
    report(collected, np.array(smooth), arguments.seeds, ["bicubic", *peers], arguments.json)
    if arguments.sheet:
        half = (len(rows) + 1) // 2
        rows += [np.zeros_like(rows[0])] * (2 * half - len(rows))
        sheet = np.concatenate([np.concatenate(rows[:half]), np.concatenate(rows[half:])], axis=1)
        Image.fromarray(sheet).save(arguments.sheet)


def report(
    collected: dict[str, list[NDArray[np.float64]]],
    smooth: NDArray[np.bool_],
    seeds: int,
    others: list[str],
    target: Path | None,
) -> None:
    """Print a table, and write it as JSON if asked."""
    table = {name: np.stack(columns) for name, columns in collected.items()}  # [crops, seeds + others]
    perceptual = table["stlpips"]
    won = perceptual[:, :seeds] < perceptual[:, seeds : seeds + 1]
    figures = {
        "crops": len(smooth),
        "seeds": seeds,
        "smooth_crops": int(smooth.sum()),
        "beats_bicubic_on_stlpips": float(won.mean()),
        "beats_bicubic_on_stlpips_smooth": float(won[smooth].mean()) if smooth.any() else None,
        "beats_bicubic_on_stlpips_textured": float(won[~smooth].mean()),
        "stlpips_standard_deviation_over_seeds": float(perceptual[:, :seeds].std(axis=1).mean()),
        "means": {
            "ours": {name: float(values[:, :seeds].mean()) for name, values in table.items()},
            **{
                other: {name: float(values[:, seeds + place].mean()) for name, values in table.items()}
                for place, other in enumerate(others)
            },
        },
    }
    print(json.dumps(figures, indent=2))
    if target:
        target.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
