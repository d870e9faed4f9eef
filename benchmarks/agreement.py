"""Which metrics agree with the eye: pairs of restorations of which one is better without doubt.

`python -m benchmarks.agreement` makes 200 pairs, 25 photos in eight ways: a restoration, and the same one spoilt by
what people see at once (grain, ragged edges, canvas, lattice, blur, over-sharpening), or a restoration and one that is
nearer to the HR by construction. Photos are committed ones, which trained no metric and no model. A metric agrees where
it prefers the better one; a coin has .5.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.base_model import crops, restorations
from components.artifacts.images import to_8bit, to_tensor
from components.backbones.loading import load_backbone
from components.backbones.restorer_flow import PICTURE
from components.errors import BadInput
from components.metrics.suite import Suite
from components.metrics.table import info
from components.progress import progress
from components.rewards.normaliser import FixedNormaliser
from components.settings import load_settings
from components.storage.digests import seed_of
from recipes.rank_degradations import degrade
from recipes.restored_crops import low_resolution

Image8 = NDArray[np.uint8]

METRICS = ["stlpips", "stlpips-vgg", "rank_effnet", "rank_nss", "psnr", "ssim", "fsim", "gmsd", "vif"]
SPOILT = {"grain": 0.45, "ragged": 0.5, "canvas": 0.35, "lattice": 0.35, "blur": 0.25, "ringing": 0.3}
"""Degradation to strength: what is seen at fourfold zoom and not more."""
KINDS = (*SPOILT, "nearer, base", "nearer, restorer")
SHARE = 0.4
"""Of the HR in what is nearer to it."""
DEGRADATIONS = ("bicubic", "jpeg75", "mild", "full")


def pair(kind: str, number: int, hr: Image8, base: Image8, restored: Image8) -> tuple[Image8, Image8]:
    """The better and the worse image of a pair."""
    if kind in SPOILT:
        better = base if number % 2 else restored
        rng = np.random.default_rng(seed_of("agreement", kind, number))
        return better, degrade(better.astype(np.float32) / 255.0, kind, SPOILT[kind], rng)
    worse = base if kind == "nearer, base" else restored
    nearer = (1.0 - SHARE) * worse.astype(np.float32) + SHARE * hr.astype(np.float32)
    return np.asarray(np.rint(nearer), dtype=np.uint8), worse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("data/photos"))
    parser.add_argument("--count", type=int, default=25, help="photos, a pair of each kind a photo")
    parser.add_argument("--metrics", nargs="+", default=METRICS)
    parser.add_argument("--sheet", type=Path, help="write a picture of the pairs: better left, worse right")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    settings = load_settings()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_backbone(settings, Path().resolve(), device)
    suite = Suite.load(arguments.metrics, device)
    scores: dict[str, dict[str, list[tuple[float, float]]]] = {name: {} for name in arguments.metrics}
    of_base: dict[str, list[float]] = {name: [] for name in arguments.metrics}
    rows = []
    for number, (photo, hr) in enumerate(progress(crops(arguments.photos, arguments.count), desc="photos")):
        lr = low_resolution(hr, DEGRADATIONS[number % 4], np.random.default_rng(seed_of("agreement", photo)))
        condition = model.condition(to_tensor(lr), ("",))
        if PICTURE not in condition.encodings:
            raise BadInput("the agreement is measured with a restorer_flow: set backbone.family")
        restored = to_8bit(condition.encodings[PICTURE])[0]
        base = restorations(model, lr, f"agreement {photo}", 3, settings.backbone.colour_fix)
        shown = [pair(kind, number, hr, base[0], restored) for kind in KINDS]
        images = [image for both in shown for image in both] + list(base)
        found = suite.score(to_tensor(*images), to_tensor(hr), to_tensor(lr)).values
        for name, values in found.items():
            for place, kind in enumerate(KINDS):
                scores[name].setdefault(kind, []).append((float(values[2 * place]), float(values[2 * place + 1])))
            of_base[name].extend(values[2 * len(KINDS) :].tolist())
        if number < 6:
            rows.append(np.concatenate([np.concatenate(both, axis=1) for both in shown], axis=1))
    result = agreement(scores, of_base, settings.score.fr, settings.score.nr)
    print(show(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    if arguments.sheet:
        Image.fromarray(np.concatenate(rows)).save(arguments.sheet)


def agreement(
    scores: dict[str, dict[str, list[tuple[float, float]]]],
    of_base: dict[str, list[float]],
    fr: list[str],
    nr: list[str],
) -> dict[str, Any]:
    """Share of pairs by metric and kind in which the better image is preferred; ties count half.

    The reward of the settings stands beside the metrics, under bounds fixed on the base's restorations.
    """
    columns = {
        name: {
            kind: np.array([(1 if info(name).higher_is_better else -1) * np.diff(both[::-1])[0] for both in pairs])
            for kind, pairs in kinds.items()
        }
        for name, kinds in scores.items()
    }
    rewarded = [name for name in (*fr, *nr) if name in scores]
    if rewarded == [*fr, *nr]:
        normaliser = FixedNormaliser.fit({name: np.array(of_base[name]) for name in rewarded})
        columns["reward"] = {}
        for kind in next(iter(scores.values())):
            better, worse = (
                normaliser.apply({name: np.array([both[side] for both in scores[name][kind]]) for name in rewarded})
                for side in (0, 1)
            )
            columns["reward"][kind] = better - worse
    return {
        name: {kind: float(np.mean((gaps > 0) + 0.5 * (gaps == 0))) for kind, gaps in kinds.items()}
        | {"all": float(np.mean(np.concatenate([(gaps > 0) + 0.5 * (gaps == 0) for gaps in kinds.values()])))}
        for name, kinds in columns.items()
    }


def show(result: dict[str, Any]) -> str:
    """The shares as text."""
    kinds = [*KINDS, "all"]
    lines = [f"{'':14}" + "".join(f"{kind:>18}" for kind in kinds)]
    lines += [f"{name:14}" + "".join(f"{shares[kind]:18.2f}" for kind in kinds) for name, shares in result.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
