"""Trains the ranking heads; `python -m components.metrics.train_rank --photos data/extended`.

Reads crops of photographs, makes the variants of `rank_degradations` of each, and learns to rank clean above mild above
strong, and half-restored above the same with artefacts. Photos, not crops, are split into training and held-out ones.
About ten minutes on one CPU thread, nearly all of it features. Writes each head and its model card.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from tqdm import tqdm

from components.artifacts.digests import of_file, of_json, seed_of
from components.artifacts.images import to_tensor
from components.artifacts.publish import atomic_file, write_json
from components.errors import BadInput
from components.metrics.rank_degradations import CHAINS, variants
from components.metrics.rank_effnet import Backbone
from components.metrics.rank_head import Features, Head, head_file
from components.metrics.rank_nss import SceneStatistics
from components.metrics.suite import Suite
from components.metrics.table import info
from components.metrics.weights import required

CROP = 128
HELD_OUT = 5  # every fifth photo, by digest
BASELINES = ("niqe", "brisque", "piqe")
FEATURES: dict[str, Callable[[], Features]] = {
    "rank_effnet": lambda: Backbone(required("rank_effnet")[0]),
    "rank_nss": lambda: SceneStatistics(torch.device("cpu")),
}
"""What each ranking metric sees."""
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_LONG_SIDES = (640, 1280)  # photos are reduced to between these, so that what is called clean is sharp
_POSITIONS = torch.tensor(list(CHAINS.values()))


@dataclass(frozen=True)
class Crop:
    """The variants `[V, 128, 128, 3]` of one crop of a photo."""

    photo: Path
    smooth: bool
    images: NDArray[np.uint8]


def find_photos(folder: Path) -> list[Path]:
    """Photos below `folder`, sorted by path.

    Raises:
        BadInput: there are fewer than ten.
    """
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if len(photos) < 10:
        raise BadInput(f"{folder} has {len(photos)} photos, training needs ten or more: run scripts/fetch_extended.py")
    return photos


def crops(photos: list[Path], per_photo: int, seed: int) -> Iterator[Crop]:
    """Every crop of every photo with its variants; a function of the arguments and the files alone."""
    for photo in tqdm(photos, desc="crops", unit="photo"):
        digest = of_file(photo)
        for number, (crop, smooth) in enumerate(_cut(photo, per_photo, seed_of("crops", digest, seed))):
            generator = np.random.default_rng(seed_of("variants", digest, number, seed))
            yield Crop(photo, smooth, variants(crop, generator))


def _cut(photo: Path, count: int, seed: int) -> Iterator[tuple[NDArray[np.float32], bool]]:
    """`count` crops in [0, 1]: one of the smoothest of forty (True beside it), the others spread over all textures."""
    image = cv2.imread(str(photo), cv2.IMREAD_COLOR)
    if image is None:
        raise BadInput(f"{photo} is no readable photo: remove it")
    generator = np.random.default_rng(seed)
    scale = generator.uniform(*_LONG_SIDES) / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    if min(height, width) < CROP:
        return
    places = [
        (int(generator.integers(height - CROP + 1)), int(generator.integers(width - CROP + 1))) for _ in range(40)
    ]
    found = [image[y : y + CROP, x : x + CROP, ::-1].astype(np.float32) / 255 for y, x in places]
    found.sort(key=lambda crop: float(np.abs(np.diff(crop, axis=0)).mean()))
    for position, index in enumerate([2, *np.linspace(8, len(found) - 1, count - 1).astype(int)]):
        # A flat crop has nothing that could be degraded but by noise.
        if found[index].std() > 0.02:
            yield found[index], position == 0


def ranking_loss(scores: torch.Tensor, positions: torch.Tensor = _POSITIONS, margin: float = 1.0) -> torch.Tensor:
    """Mean soft margin ranking loss of scores `[B, V]` over chains `[K, 3]` of positions, best to worst."""
    best, middle, worst = scores[:, positions].unbind(-1)
    return F.softplus(margin - torch.stack([best - middle, middle - worst, (best - worst) / 2])).mean()


def fit(features: torch.Tensor, epochs: int, seed: int, positions: torch.Tensor = _POSITIONS) -> Head:
    """A head trained on features `[N, V, F]`, in evaluation mode."""
    torch.manual_seed(seed)
    head = Head(features.shape[2])
    flat = features.flatten(0, 1)
    head.mean.copy_(flat.mean(0))
    head.deviation.copy_(flat.std(0) + 1e-6)
    batches = len(features) // 32 + 1
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, epochs * batches)
    for _ in tqdm(range(epochs), desc="epochs"):
        for batch in torch.randperm(len(features)).chunk(batches):
            loss = ranking_loss(head(features[batch].flatten(0, 1)).view(len(batch), -1), positions)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return head.eval()


def pairwise_accuracy(scores: NDArray[np.float64]) -> dict[str, list[float]]:
    """Per chain, of scores `[N, V]` (higher is better), the share of crops ranked rightly.

    Three figures: best above middle, best above worst, middle above worst. Ties count half.
    """

    def share(better: NDArray[np.float64], worse: NDArray[np.float64]) -> float:
        return round(float(np.mean((better > worse) + 0.5 * (better == worse))), 3)

    result = {}
    for name, chain in CHAINS.items():
        best, middle, worst = (scores[:, position] for position in chain)
        result[name] = [share(best, middle), share(best, worst), share(middle, worst)]
    return result


def baseline_accuracy(name: str, some: list[Crop]) -> dict[str, list[float]]:
    """The same figures of another NR metric; an image it cannot judge ranks last."""
    suite, sign = Suite.load([name]), 1.0 if info(name).higher_is_better else -1.0
    rows = []
    for crop in tqdm(some, desc=name, unit="crop"):
        raw = sign * suite.score(to_tensor(*crop.images), None, None).values[name]
        rows.append(np.where(np.isfinite(raw), raw, -np.inf))
    return pairwise_accuracy(np.stack(rows))


def train(
    metrics: list[str], photos: list[Path], *, per_photo: int, epochs: int, seed: int, baseline_crops: int
) -> dict[str, tuple[Head, dict[str, object]]]:
    """The trained head and the model card of each of `metrics`; the crops are made once for all."""
    extractors = {name: FEATURES[name]() for name in metrics}
    features: dict[str, list[torch.Tensor]] = {name: [] for name in metrics}
    held, smooth, kept = [], [], []
    held_out = {photo for photo in photos if seed_of("split", of_file(photo)) % HELD_OUT == 0}
    for crop in crops(photos, per_photo, seed):
        images = to_tensor(*crop.images)
        for name, extract in extractors.items():
            features[name].append(extract(images))
        held.append(crop.photo in held_out)
        smooth.append(crop.smooth)
        if held[-1]:
            kept.append(crop)
    mask, flat = torch.tensor(held), np.array(smooth)[held]
    some = kept[:: max(1, len(kept) // baseline_crops)] if baseline_crops else []
    baselines = {name: baseline_accuracy(name, some) for name in BASELINES} if some else {}
    result: dict[str, tuple[Head, dict[str, object]]] = {}
    for name in metrics:
        stacked = torch.stack(features[name])
        head = fit(stacked[~mask], epochs, seed)
        with torch.no_grad():
            scores = head(stacked[mask].flatten(0, 1)).view(int(mask.sum()), -1).double().numpy()
        result[name] = (
            head,
            {
                "metric": name,
                "about": info(name).about,
                "use": f"quality of crops of about {CROP} px, higher is better; compares candidates of one LR",
                "photos": {"training": len(photos) - len(held_out), "held_out": len(held_out)},
                "photos_digest": of_json(sorted(of_file(photo) for photo in photos)),
                "crops": {"training": int((~mask).sum()), "held_out": int(mask.sum()), "baselines": len(some)},
                "seed": seed,
                "epochs": epochs,
                "accuracy_columns": ["best above middle", "best above worst", "middle above worst"],
                "held_out_accuracy": pairwise_accuracy(scores),
                "held_out_accuracy_smooth_crops": pairwise_accuracy(scores[flat]),
                "baselines": baselines,
            },
        )
    return result


def main() -> None:
    """Train, say the held-out figures, and write heads and cards."""
    parser = argparse.ArgumentParser(description="Trains the ranking heads and writes them with their model cards.")
    parser.add_argument("--metrics", nargs="+", choices=FEATURES, default=list(FEATURES), help="whose heads to train")
    parser.add_argument("--photos", type=Path, default=Path("data/extended"), help="folder of sharp photographs")
    parser.add_argument("--per-photo", type=int, default=3, help="crops a photo")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--baseline-crops", type=int, default=60, help="held-out crops for NIQE, BRISQUE and PIQE")
    options = parser.parse_args()
    try:
        trained = train(
            options.metrics,
            find_photos(options.photos),
            per_photo=options.per_photo,
            epochs=options.epochs,
            seed=options.seed,
            baseline_crops=options.baseline_crops,
        )
    except BadInput as error:
        sys.exit(str(error))
    for name, (head, card) in trained.items():
        path = head_file(name)
        with atomic_file(path) as temporary:
            save_file({key: tensor.contiguous() for key, tensor in head.state_dict().items()}, temporary)
        write_json(path.with_suffix(".json"), card)
        print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
