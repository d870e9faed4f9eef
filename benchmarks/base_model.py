"""The embedded base model beside what a user would take instead: `python -m benchmarks.base_model`.

One crop of each photo, under four degradations: clean bicubic, JPEG 75, the pipeline's ranges and Real-ESRGAN's full
first order. The photos are the committed ones, which no model here was trained on. Differences to Real-ESRGAN x4plus
(with the colour fix that the model's own condition has) carry intervals, clustered by photo.
"""

import argparse
import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from components.artifacts.images import to_8bit, to_tensor
from components.backbones.base import Backbone, candidate_noise
from components.backbones.colour import ColourFix, fix_colours
from components.backbones.loading import load_model
from components.backbones.restore import restore
from components.backbones.restorer_flow import PICTURE
from components.backbones.restorers.restorer import load_restorer
from components.backbones.upsampling import upsample
from components.judge.bootstrap import ClusterBootstrap
from components.judge.guards import GUARDS
from components.metrics.suite import Suite
from components.photos.crops import texture
from components.progress import progress
from components.settings import BACKBONE, load_settings
from components.storage.digests import seed_of
from recipes.photo_crops import LONG_SIDES, SUFFIXES
from recipes.restored_crops import CROP, SCALE, low_resolution

Image8 = NDArray[np.uint8]

METRICS = ["stlpips", "stlpips-vgg", "rank_effnet", "rank_nss", "psnr", "ssim"]
KINDS = ("bicubic", "jpeg75", "mild", "full")
PEER, OURS = "x4plus", "base"


@dataclass
class Collected:
    """Values by degradation, model and metric: one list a photo, of one value a seed."""

    values: dict[str, dict[str, dict[str, list[list[float]]]]] = field(default_factory=dict)
    energies: dict[str, list[list[float]]] = field(default_factory=dict)
    periods: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    def add(self, kind: str, model: str, name: str, values: list[float]) -> None:
        """Values of one photo's restorations."""
        self.values.setdefault(kind, {}).setdefault(model, {}).setdefault(name, []).append(values)


def crops(folder: Path, count: int) -> list[tuple[str, Image8]]:
    """The busier of two random crops of each photo, in the order of a hash of its name."""
    files = sorted((path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES),
                   key=lambda path: seed_of("base model", path.name))  # fmt: skip
    found = []
    for path in files[:count]:
        with Image.open(path) as opened:
            photo = opened.convert("RGB")
        photo.thumbnail((LONG_SIDES[1], LONG_SIDES[1]), Image.Resampling.LANCZOS)
        pixels = np.asarray(photo)
        rng = np.random.default_rng(seed_of("base model crop", path.name))
        places = [(rng.integers(pixels.shape[0] - CROP + 1), rng.integers(pixels.shape[1] - CROP + 1)) for _ in "ab"]
        cut = [np.ascontiguousarray(pixels[top : top + CROP, left : left + CROP]) for top, left in places]
        found.append((path.stem, max(cut, key=texture)))
    return found


def period_power(images: Image8) -> dict[str, float]:
    """How far the luma's power at periods of exactly 2 and 4 px stands above its spectral neighbours, dB.

    Images `[M, 128, 128, 3]`; powers are averaged over images and over the lines of the spectrum that hold a period.
    """
    luma = images.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    window = np.outer(np.hanning(luma.shape[1]), np.hanning(luma.shape[2]))
    power = np.square(np.abs(np.fft.fft2((luma - luma.mean(axis=(1, 2), keepdims=True)) * window))).mean(axis=0)
    side = power.shape[0]
    result = {}
    for period in (2, 4):
        place = side // period
        ratios = []
        for lines in (power, power.T):
            near = [place - 4, place - 3] + ([place + 3, place + 4] if period > 2 else [place - 5, place - 6])
            ratios.append(lines[place].mean() / np.mean([lines[line].mean() for line in near]))
        result[str(period)] = float(10.0 * np.log10(np.mean(ratios)))
    return result


def restorations(model: Backbone, lr: Image8, name: str, seeds: int, colour_fix: ColourFix) -> Image8:
    """`seeds` restorations of one LR, 8-bit."""
    draws = [partial(candidate_noise, name, seed) for seed in range(seeds)]
    (samples,) = restore(model, to_tensor(lr), ("",), draws, colour_fix, "policy")
    return to_8bit(samples.images)


def measure(arguments: argparse.Namespace) -> tuple[Collected, list[str], dict[str, dict[str, list[Image8]]]]:
    """Everything measured, the photos' names, and the pictures by degradation and model."""
    settings = load_settings()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    block = settings.backbone.model_dump() | ({"steps": arguments.steps} if arguments.steps else {})
    folder = arguments.model or settings.backbone.path
    backbone = BACKBONE.validate_python(block).located(Path().resolve())
    model = load_model(folder.resolve(), backbone, device)
    suite = Suite.load([name for name in METRICS if name not in arguments.without], device)
    restorer = load_restorer("realesrgan-x4plus", Path(), device)
    collected = Collected()
    pictures: dict[str, dict[str, list[Image8]]] = {kind: {} for kind in KINDS}
    photos = crops(arguments.photos, arguments.crops)
    for photo, hr in progress(photos, desc="crops", unit="crop"):
        for kind in arguments.kinds:
            lr = low_resolution(hr, kind, np.random.default_rng(seed_of("base model", photo, kind)))
            condition = model.condition(to_tensor(lr), ("",))
            enlarged = upsample(to_tensor(lr), SCALE, 2**30)
            picture = condition.encodings.get(PICTURE)
            if picture is None:
                picture = fix_colours(restorer(to_tensor(lr)), enlarged, "wavelet")
            name = f"base model {photo} {kind}"
            ours = restorations(model, lr, name, arguments.seeds, settings.backbone.colour_fix)
            shown = {"bicubic": to_8bit(enlarged), PEER: to_8bit(picture), OURS: ours}
            values = suite.score(to_tensor(*np.concatenate(list(shown.values()))), to_tensor(hr), to_tensor(lr)).values
            values |= {
                name: np.array([guard(one, lr) for one in np.concatenate(list(shown.values()))])
                for name, guard in GUARDS.items()
            }
            for name, column in values.items():
                start = 0
                for shown_name, images in shown.items():
                    collected.add(kind, shown_name, name, column[start : start + len(images)].tolist())
                    start += len(images)
            collected.energies.setdefault(kind, []).append([texture(one) for one in ours])
            for shown_name, images in (shown | {"hr": hr[None], "lr": lr[None]}).items():
                pictures[kind].setdefault(shown_name, []).append(images)
    for kind in arguments.kinds:
        for name in ("hr", OURS, PEER):
            collected.periods.setdefault(kind, {})[name] = period_power(np.concatenate(pictures[kind][name]))
    return collected, [photo for photo, _ in photos], pictures


def figures(collected: Collected, photos: list[str]) -> dict[str, Any]:
    """Means, differences to the peer with intervals, spread over seeds, and what goes with it within an image."""
    result: dict[str, Any] = {"photos": len(photos)}
    for kind, models in collected.values.items():
        means = {
            model: {name: float(np.mean(column)) for name, column in metrics.items()}
            for model, metrics in models.items()
        }
        bootstrap = ClusterBootstrap(photos, 2000, 0.95, 0)
        differences = {}
        for name in models[OURS]:
            ours, peer = (np.array([np.mean(values) for values in models[model][name]]) for model in (OURS, PEER))
            found = bootstrap.mean(ours - peer)
            differences[name] = [found.mean, found.low, found.high]
        seeds = np.array(models[OURS]["stlpips"])
        within = seeds - seeds.mean(axis=1, keepdims=True)
        energy = np.log(np.array(collected.energies[kind]))
        detail = energy - energy.mean(axis=1, keepdims=True)
        result[kind] = {
            "means": means,
            "minus_x4plus": differences,
            "spread": {
                name: float(np.std(np.array(models[OURS][name]), axis=1, ddof=1).mean()) for name in models[OURS]
            },
            "stlpips_with_detail": float(stats.spearmanr(within.ravel(), detail.ravel()).statistic),
            "period_power_db": collected.periods[kind],
        }
    return result


def show(found: dict[str, Any]) -> str:
    """The figures as text."""
    lines = []
    for kind, part in found.items():
        if not isinstance(part, dict):
            continue
        names = [name for name in [*METRICS, *GUARDS] if name in part["means"][OURS]]
        lines.append(f"\n{kind}\n{'':22}" + "".join(f"{name:>13}" for name in names))
        for model, means in part["means"].items():
            lines.append(f"{model:22}" + "".join(f"{means[name]:13.3f}" for name in names))
        differences = part["minus_x4plus"]
        lines.append(f"{'base - x4plus':22}" + "".join(f"{differences[name][0]:+13.3f}" for name in names))
        for label, place in (("  from", 1), ("  to", 2)):
            lines.append(f"{label:22}" + "".join(f"{differences[name][place]:+13.3f}" for name in names))
        lines.append(f"{'sd over seeds':22}" + "".join(f"{part['spread'][name]:13.3f}" for name in names))
        lines.append(f"periods 2 and 4, dB: {part['period_power_db']}; "
                     f"st-lpips with detail: {part['stlpips_with_detail']:+.2f}")  # fmt: skip
    return "\n".join(lines)


def sheet(pictures: dict[str, list[Image8]], places: list[int], seeds: int) -> Image.Image:
    """Rows of LR (nearest), bicubic, x4plus, seeds of the base, HR, twice enlarged."""
    rows = []
    for place in places:
        lr = np.repeat(np.repeat(pictures["lr"][place], SCALE, axis=1), SCALE, axis=2)
        columns = [lr, pictures["bicubic"][place], pictures[PEER][place], *pictures[OURS][place][:seeds, None],
                   pictures["hr"][place]]  # fmt: skip
        rows.append(np.concatenate([column[0] for column in columns], axis=1))
    image = Image.fromarray(np.concatenate(rows))
    return image.resize((2 * image.width, 2 * image.height), Image.Resampling.NEAREST)


def by_rule(collected: Collected, kind: str) -> list[int]:
    """Places of the crops: worst, median and best by the base's mean st-lpips less the peer's."""
    models = collected.values[kind]
    ours, peer = (np.array([np.mean(values) for values in models[model]["stlpips"]]) for model in (OURS, PEER))
    order = np.argsort(ours - peer)[::-1]
    return [int(order[0]), int(order[len(order) // 2]), int(order[-1])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("data/photos"), help="photos that no training saw")
    parser.add_argument("--model", type=Path, help="folder; default backbone.path of params.yaml")
    parser.add_argument("--crops", type=int, default=74, help="photos, a crop each")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, help="Euler steps; default backbone.steps of params.yaml")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--without", nargs="*", default=[], help="metrics to leave out, stlpips-vgg is the dear one")
    parser.add_argument("--sheets", type=Path, help="folder for a picture a degradation: worst, median, best crop")
    parser.add_argument("--every-crop", action="store_true", help="show all crops in the sheets")
    parser.add_argument("--json", type=Path, help="write the figures")
    arguments = parser.parse_args()
    collected, photos, pictures = measure(arguments)
    found = figures(collected, photos)
    print(show(found))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    if arguments.sheets:
        arguments.sheets.mkdir(parents=True, exist_ok=True)
        for kind in arguments.kinds:
            places = list(range(len(photos))) if arguments.every_crop else by_rule(collected, kind)
            sheet(pictures[kind], places, min(4, arguments.seeds)).save(arguments.sheets / f"{kind}.png")


if __name__ == "__main__":
    main()
