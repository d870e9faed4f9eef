"""Several trainings of one base beside it, under four degradations: `python -m benchmarks.trainings FOLDER...`.

Each folder is the aligned model of one training seed. Photos are those of a project's test split, one crop each; the LR
is degraded as `benchmarks.base_model` does. Base, trainings and Real-ESRGAN x4plus see the same LR, and base and
trainings the same noise. The reward has the bounds of the project's evaluation. Photos and training seeds are both
random factors of the intervals.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.arena.statistics import Estimate, paired
from benchmarks.base_model import KINDS, PEER, Image8, crops, restorations
from components.artifacts import tables
from components.artifacts.images import to_8bit, to_tensor
from components.backbones.base import Backbone
from components.backbones.loading import load_model
from components.backbones.restorer_flow import PICTURE
from components.errors import BadInput
from components.judge.bootstrap import ClusterBootstrap
from components.metrics.suite import Suite
from components.progress import progress
from components.rewards.normaliser import FixedNormaliser
from components.settings import Settings, load_settings
from components.storage.digests import seed_of
from recipes.restored_crops import CROP, low_resolution

METRICS = ["stlpips", "stlpips-vgg", "rank_effnet", "rank_nss", "psnr", "ssim"]
REWARD, BASE, TRAINED = "reward", "base", "aligned"
CONFIDENCE, RESAMPLES = 0.95, 2000

Values = NDArray[np.float64]
Scores = dict[str, dict[str, Values]]
"""By model (BASE, PEER, `aligned 0`, …) and figure: [photos], the mean over noises."""


def test_photos(project: Path) -> set[str]:
    """Names, without ending, of the photos that no training of the project saw."""
    rows = tables.read_rows(project / "data/dataset.parquet", tables.DATASET)
    return {Path(row["source_name"]).stem for row in rows if row["split"] == "test"}


def score(
    models: Mapping[str, Backbone],
    photos: Sequence[tuple[str, Image8]],
    kind: str,
    noises: int,
    settings: Settings,
    normaliser: FixedNormaliser,
) -> Scores:
    """Figures of each model's restorations of each photo's crop under one degradation."""
    suite = Suite.load(METRICS, models[BASE].device)
    columns: dict[str, dict[str, list[float]]] = {}
    for photo, hr in progress(photos, desc=kind, unit="crop"):
        lr = low_resolution(hr, kind, np.random.default_rng(seed_of("base model", photo, kind)))
        made = {PEER: _peer(models[BASE], lr)}
        for name, model in models.items():
            made[name] = restorations(model, lr, f"trainings {photo} {kind}", noises, settings.backbone.colour_fix)
        values = suite.score(to_tensor(*np.concatenate(list(made.values()))), to_tensor(hr), to_tensor(lr)).values
        values |= {REWARD: normaliser.apply(values)}
        start = 0
        for name, images in made.items():
            for figure, column in values.items():
                mean = float(np.mean(column[start : start + len(images)]))
                columns.setdefault(name, {}).setdefault(figure, []).append(mean)
            start += len(images)
    return {name: {figure: np.array(column) for figure, column in found.items()} for name, found in columns.items()}


def _peer(model: Backbone, lr: Image8) -> Image8:
    """Real-ESRGAN's picture, colour-fixed, as the model's own condition has it: `[1, H, W, 3]`."""
    picture = model.condition(to_tensor(lr), ("",)).encodings.get(PICTURE)
    if picture is None:
        raise BadInput("the base stands on no restorer: name a project of family restorer_flow")
    return to_8bit(picture)


def compare(scores: Scores, photos: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Means by model, and the trainings' difference from base and peer with intervals over photos and seeds."""
    bootstrap = ClusterBootstrap(photos, RESAMPLES, CONFIDENCE, 0)
    trained = [name for name in scores if name.startswith(TRAINED)]
    result: dict[str, dict[str, Any]] = {}
    for figure in scores[BASE]:
        result[figure] = {
            "peer": float(scores[PEER][figure].mean()),
            "base": float(scores[BASE][figure].mean()),
            "each": [float(scores[name][figure].mean()) for name in trained],
        }
        for other in (BASE, PEER):
            left = [scores[name][figure] for name in trained]
            found = paired(left, [scores[other][figure]] * len(left), bootstrap, CONFIDENCE)
            result[figure][f"minus {other}"] = None if found is None else _row(found)
    return result


def _row(found: Estimate) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high, "p": found.p}


def show(found: Mapping[str, dict[str, dict[str, Any]]]) -> str:
    """The figures as text."""
    lines = []
    for kind, figures in found.items():
        lines.append(f"\n{kind}: aligned - base, aligned - x4plus, each training - base")
        for figure, row in figures.items():
            texts = []
            for other in (BASE, PEER):
                difference = row[f"minus {other}"]
                texts.append(
                    "-" if difference is None else
                    f"{difference['mean']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}]"
                )  # fmt: skip
            each = ", ".join(f"{value - row['base']:+.4f}" for value in row["each"])
            lines.append(f"  {figure:12} {texts[0]:30} {texts[1]:30} {each}")
    return "\n".join(lines)


def sheet(
    models: Mapping[str, Backbone], photos: Sequence[tuple[str, Image8]], kind: str, settings: Settings
) -> Image8:
    """A row a photo: LR (nearest), Real-ESRGAN, base, each training, HR; twice enlarged."""
    rows = []
    for photo, hr in photos:
        lr = low_resolution(hr, kind, np.random.default_rng(seed_of("base model", photo, kind)))
        factor = CROP // lr.shape[0]
        columns = [np.repeat(np.repeat(lr, factor, 0), factor, 1), _peer(models[BASE], lr)[0]]
        fix = settings.backbone.colour_fix
        columns += [restorations(model, lr, f"trainings {photo} {kind}", 1, fix)[0] for model in models.values()]
        rows.append(np.concatenate([*columns, hr], axis=1))
    image = np.concatenate(rows)
    return np.repeat(np.repeat(image, 2, 0), 2, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="aligned models, one of each training seed")
    parser.add_argument("--project", type=Path, default=Path(), help="whose split and reward count")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--noises", type=int, default=3)
    parser.add_argument("--sheets", type=Path, help="folder for a picture a degradation, of the first 6 photos")
    parser.add_argument("--json", type=Path, help="write the figures")
    arguments = parser.parse_args()
    project = arguments.project.resolve()
    settings = load_settings(project / "params.yaml")
    backbone = settings.backbone.located(project)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    load = partial(load_model, settings=backbone, device=device)
    models = {BASE: load(backbone.path)}
    models |= {f"{TRAINED} {number}": load(folder.resolve()) for number, folder in enumerate(arguments.folders)}
    unseen = test_photos(project)
    photos = [(name, crop) for name, crop in crops(project / "data/photos", 10**6) if name in unseen]
    if len(photos) < 2:
        raise BadInput(f"{project}: its test split has {len(photos)} photos of data/photos, and 2 are needed")
    normaliser = FixedNormaliser.load(project / "reports/normaliser.json")
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for kind in arguments.kinds:
        scores = score(models, photos, kind, arguments.noises, settings, normaliser)
        found[kind] = compare(scores, [name for name, _ in photos])
        print(show({kind: found[kind]}), flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps({"photos": len(photos), **found}, indent=2) + "\n")
        if arguments.sheets:
            arguments.sheets.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sheet(models, photos[:6], kind, settings)).save(arguments.sheets / f"{kind}.png")


if __name__ == "__main__":
    main()
