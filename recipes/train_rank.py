"""Trains a ranking head; `python -m recipes.train_rank --metric rank_effnet --photos data/extended`.

Reads crops of photographs, degrades each in every way of `rank_degradations` mildly and strongly, and learns to rank
clean above mild above strong. Photos, not crops, are split into training and held-out ones. About ten minutes on one
CPU thread, nearly all of it features. Writes the head and its model card.
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

from components.artifacts.images import to_tensor
from components.errors import BadInput
from components.metrics.rank_effnet import Backbone
from components.metrics.rank_head import Features, Head, head_file
from components.metrics.rank_nss import SceneStatistics
from components.metrics.suite import Suite
from components.metrics.table import info
from components.metrics.weights import required
from components.progress import progress
from components.storage.digests import of_file, of_json, seed_of
from components.storage.publish import atomic_file, write_json
from recipes.rank_degradations import DEGRADATIONS, degrade

CROP = 128
LARGE, LARGE_EVERY, LARGE_PER_PHOTO = 256, 3, 3
"""Larger crops of some of the photos: pictures are judged at their size, and pooled features shift with it."""
HELD_OUT = 5  # every fifth photo, by digest
PAINTED_WEIGHT = 0.15
"""Of photograph above restorer's picture; one kind of pair beside seventeen degradations."""
PAINTED_PAIRS = 1000
PAINTED_HELD_OUT = 5
"""Every fifth pair is kept back; it is of another crop, not of another photograph."""
BASELINES = ("niqe", "brisque", "piqe")
FEATURES: dict[str, Callable[[], Features]] = {
    "rank_effnet": lambda: Backbone(required("rank_effnet")[0]),
    "rank_nss": lambda: SceneStatistics(torch.device("cpu")),
}
"""What each ranking metric sees."""
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_LONG_SIDES = (640, 1280)  # photos are reduced to between these, so that what is called clean is sharp


@dataclass(frozen=True)
class Variants:
    """One crop: its photo, and the 8-bit images `[1 + 2K, 128, 128, 3]`: clean, then mild and strong, K times."""

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


def _crops(photo: Path, count: int, seed: int, size: int) -> Iterator[tuple[NDArray[np.float32], bool]]:
    """`count` crops in [0, 1], the first two of them the smoothest found, the others spread over all textures."""
    image = cv2.imread(str(photo), cv2.IMREAD_COLOR)
    if image is None:
        raise BadInput(f"{photo} is no readable photo: remove it")
    generator = np.random.default_rng(seed_of("crops", of_file(photo), seed))
    scale = generator.uniform(*_LONG_SIDES) / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    if min(height, width) < size:
        return
    places = [
        (int(generator.integers(height - size + 1)), int(generator.integers(width - size + 1))) for _ in range(40)
    ]
    found = [image[y : y + size, x : x + size, ::-1].astype(np.float32) / 255 for y, x in places]
    found.sort(key=lambda crop: float(np.abs(np.diff(crop, axis=0)).mean()))
    chosen = [0, 4, *np.linspace(8, len(found) - 1, count - 2).astype(int)]
    for position, index in enumerate(chosen):
        # A flat crop has nothing that could be degraded but by noise.
        if found[index].std() > 0.02:
            yield found[index], position < 2


def variants(photos: list[Path], per_photo: int, seed: int, size: int = CROP) -> Iterator[Variants]:
    """Every crop of every photo with its degraded variants; a function of the arguments and the files alone."""
    for photo in progress(photos, desc="crops"):
        for number, (crop, smooth) in enumerate(_crops(photo, per_photo, seed, size)):
            images = [np.rint(crop * 255).astype(np.uint8)]
            for name in DEGRADATIONS:
                generator = np.random.default_rng(seed_of(name, of_file(photo), number, seed))
                mild = generator.uniform(0.03, 0.5)
                strong = mild + generator.uniform(0.2, 0.5)
                images += [degrade(crop, name, strength, generator) for strength in (mild, strong)]
            yield Variants(photo, smooth, np.stack(images))


def ranking_loss(scores: torch.Tensor, margin: float = 1.0) -> torch.Tensor:
    """Mean margin ranking loss of scores `[B, 1 + 2K]`: clean above mild, mild above strong, clean above strong."""
    clean, mild, strong = scores[:, :1], scores[:, 1::2], scores[:, 2::2]
    gaps = torch.stack([clean - mild, mild - strong, (clean - strong) / 2])
    return F.softplus(margin - gaps).mean()


def painted(folder: Path, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """HR crops and what a restorer made of their LR images, `[N, 128, 128, 3]` each, of a pool of `restored_crops`.

    A restorer's picture is smoother than life, and every degradation above is found in rougher ones: without these
    pairs a head puts Real-ESRGAN's picture above the photograph itself.
    """
    blocks = sorted(folder.glob("*.npz"))
    if not blocks:
        raise BadInput(f"{folder} holds no restored crops: run python -m recipes.restorer_flow, or leave --pool out")
    loaded = [np.load(path) for path in blocks]
    hr, restored = (np.concatenate([block[name] for block in loaded])[:count] for name in ("hr", "restored"))
    return hr, restored


def fit(features: torch.Tensor, epochs: int, seed: int, painted_pairs: torch.Tensor | None = None) -> Head:
    """A head trained on features `[N, 1 + 2K, F]`, in evaluation mode.

    Args:
        painted_pairs: `[P, 2, F]` of photographs and restorers' pictures of them: the former rank above the latter.
    """
    torch.manual_seed(seed)
    head = Head(features.shape[2])
    flat = features.flatten(0, 1)
    head.mean.copy_(flat.mean(0))
    head.deviation.copy_(flat.std(0) + 1e-6)
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, epochs * (len(features) // 32 + 1))
    for _ in progress(range(epochs), desc="epochs"):
        for batch in torch.randperm(len(features)).chunk(len(features) // 32 + 1):
            loss = ranking_loss(head(features[batch].flatten(0, 1)).view(len(batch), -1))
            if painted_pairs is not None:
                drawn = painted_pairs[torch.randint(len(painted_pairs), (len(batch),))]
                photograph, picture = head(drawn.flatten(0, 1)).view(-1, 2).unbind(1)
                loss = loss + PAINTED_WEIGHT * F.softplus(1.0 - (photograph - picture)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return head.eval()


@torch.no_grad()
def pair_accuracy(head: Head, pairs: torch.Tensor | None) -> float | None:
    """Share of pairs `[P, 2, F]` whose first scores higher; None without pairs."""
    if pairs is None:
        return None
    first, second = head(pairs.flatten(0, 1)).view(-1, 2).unbind(1)
    return round(float((first > second).double().mean()), 3)


def pairwise_accuracy(scores: NDArray[np.float64]) -> dict[str, list[float]]:
    """Per degradation, of scores `[N, 1 + 2K]` (higher is better), the share of crops ranked rightly.

    Three figures: clean above mild, clean above strong, mild above strong. Ties count half.
    """

    def share(better: NDArray[np.float64], worse: NDArray[np.float64]) -> float:
        return round(float(np.mean((better > worse) + 0.5 * (better == worse))), 3)

    clean = scores[:, 0]
    result = {}
    for position, name in enumerate(DEGRADATIONS):
        mild, strong = scores[:, 1 + 2 * position], scores[:, 2 + 2 * position]
        result[name] = [share(clean, mild), share(clean, strong), share(mild, strong)]
    return result


def baseline_accuracy(name: str, crops: list[Variants]) -> dict[str, list[float]]:
    """The same figures of another NR metric; an image it cannot judge ranks last."""
    suite, sign = Suite.load([name]), 1.0 if info(name).higher_is_better else -1.0
    rows = []
    for crop in progress(crops, desc=name):
        raw = sign * suite.score(to_tensor(*crop.images), None, None).values[name]
        rows.append(np.where(np.isfinite(raw), raw, -np.inf))
    return pairwise_accuracy(np.stack(rows))


@dataclass(frozen=True)
class Crops:
    """Features of crops.

    Attributes:
        features: of every crop, [crops, variants, features]; the small ones first.
        held_out: [crops], whether its photo is kept back.
        small: how many are small.
        kept: small crops of photos that are kept back.
    """

    features: torch.Tensor
    held_out: torch.Tensor
    small: int
    kept: list[Variants]


def _extracted(photos: list[Path], held_out: set[Path], extract: Features, per_photo: int, seed: int) -> Crops:
    features, held, kept = [], [], []
    for crop in variants(photos, per_photo, seed):
        features.append(extract(to_tensor(*crop.images)))
        held.append(crop.photo in held_out)
        if held[-1]:
            kept.append(crop)
    small = len(features)
    for crop in variants(photos[::LARGE_EVERY], LARGE_PER_PHOTO, seed, LARGE):
        features.append(torch.cat([extract(part) for part in to_tensor(*crop.images).split(8)]))
        held.append(crop.photo in held_out)
    return Crops(torch.stack(features), torch.tensor(held), small, kept)


def _painted_pairs(pool: Path, extract: Features) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of photographs and restorers' pictures, [pairs, 2, features]: those to learn from, those kept back."""
    columns = [
        torch.cat([extract(part) for part in to_tensor(*images).split(16)]) for images in painted(pool, PAINTED_PAIRS)
    ]
    both = torch.stack(columns, dim=1)
    back = torch.arange(len(both)) % PAINTED_HELD_OUT == 0
    return both[~back], both[back]


def train(
    metric: str,
    photos: list[Path],
    *,
    per_photo: int,
    epochs: int,
    seed: int,
    baseline_crops: int,
    pool: Path | None = None,
) -> tuple[Head, dict[str, object]]:
    """The trained head of `metric` and its model card."""
    extract = FEATURES[metric]()
    held_out = {photo for photo in photos if seed_of("split", of_file(photo)) % HELD_OUT == 0}
    crops = _extracted(photos, held_out, extract, per_photo, seed)
    stacked, mask, small, kept = crops.features, crops.held_out, crops.small, crops.kept
    pairs, kept_pairs = _painted_pairs(pool, extract) if pool is not None else (None, None)
    head = fit(stacked[~mask], epochs, seed, pairs)
    with torch.no_grad():
        judged = head(stacked[mask].flatten(0, 1)).view(int(mask.sum()), -1).double().numpy()
    of_small = int(mask[:small].sum())
    scores, large_scores = judged[:of_small], judged[of_small:]
    smooth = np.array([crop.smooth for crop in kept])
    some = kept[:: max(1, len(kept) // baseline_crops)] if baseline_crops else []
    card = {
        "metric": metric,
        "about": info(metric).about,
        "use": f"no-reference quality of crops of about {CROP} px, higher is better; compare candidates of one LR only",
        "photos": {"training": len(photos) - len(held_out), "held_out": len(held_out)},
        "photos_digest": of_json(sorted(of_file(photo) for photo in photos)),
        "crops": {
            "training": int((~mask).sum()),
            "held_out": of_small,
            "held_out_large": len(large_scores),
            "baselines": len(some),
        },
        "per_photo": per_photo,
        "seed": seed,
        "epochs": epochs,
        "accuracy_columns": ["clean above mild", "clean above strong", "mild above strong"],
        "held_out_accuracy": pairwise_accuracy(scores),
        "held_out_accuracy_smooth_crops": pairwise_accuracy(scores[smooth]),
        "held_out_accuracy_large_crops": pairwise_accuracy(large_scores) if len(large_scores) else {},
        "photograph_above_restorers_picture": pair_accuracy(head, kept_pairs),
        "baselines": {name: baseline_accuracy(name, some) for name in BASELINES} if some else {},
    }
    return head, card


def main() -> None:
    """Train, say the held-out figures, and write head and card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--metric", choices=FEATURES, required=True, help="whose head to train")
    parser.add_argument("--photos", type=Path, default=Path("data/extended"), help="folder of sharp photographs")
    parser.add_argument("--every", type=int, default=1, help="use every n-th photo only")
    parser.add_argument("--per-photo", type=int, default=6, help="crops a photo")
    parser.add_argument("--pool", type=Path, help="folder of restored crops: photographs rank above these pictures")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--baseline-crops", type=int, default=100, help="held-out crops for NIQE, BRISQUE and PIQE")
    parser.add_argument(
        "--out", type=Path, help="head (safetensors; the card lies beside it); default: the committed one"
    )
    options = parser.parse_args()
    try:
        photos = find_photos(options.photos)[:: options.every]
        head, card = train(
            options.metric,
            photos,
            per_photo=options.per_photo,
            epochs=options.epochs,
            seed=options.seed,
            baseline_crops=options.baseline_crops,
            pool=options.pool,
        )
    except BadInput as error:
        sys.exit(str(error))
    out = options.out or head_file(options.metric)
    with atomic_file(out) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in head.state_dict().items()}, temporary)
    write_json(out.with_suffix(".json"), card)
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
