"""A study of drawn pictures, and raters who vote as they are told."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from components.study import manifest as frozen
from components.study.manifest import Comparison, Manifest, Model
from components.study.order import tasks_of
from components.study.pictures import Pictures
from components.study.votes import Choice, Vote

NAMES = ("base", "aligned")


def write_study(root: Path, photos: int = 8, checks: int = 3, names: Sequence[str] = NAMES, **changed: object) -> Path:
    """studies/trial: each two of `names` on an LR of each photo; brighter is more of the later name."""
    folder = root / "studies/trial"
    folder.mkdir(parents=True)
    pictures = Pictures(folder)
    generator = np.random.default_rng(0)
    comparisons: list[Comparison] = []
    for photo in range(photos + checks):
        lr, _ = pictures.add_pixels(generator.integers(0, 60, (8, 8, 3)).astype(np.uint8))
        noise = generator.integers(0, 60, (32, 32, 3))
        sides = []
        for place, name in enumerate(names):
            stem, pixels = pictures.add_pixels((noise + 60 * place).astype(np.uint8))
            side = {"picture": stem, "model": name, "index": 0, "pixels": pixels, "scores": {"psnr": 20.0 + place}}
            sides.append(frozen.Side.model_validate(side))
        about = {"lr_id": f"lr{photo}", "photo": f"photo{photo}", "lr": lr}
        pairs = [(a, b) for place, a in enumerate(sides) for b in sides[place + 1 :]]
        for first, second in pairs if photo < photos else pairs[:1]:
            number = f"{len(comparisons):05d}"
            comparisons.append(Comparison(id=number, first=first, second=second, check=photo >= photos, **about))
    values = {
        "name": "trial", "kind": "models", "created": "2026-01-01T00:00:00+00:00", "question": "Which looks better?",
        "ties": True, "seed": 0, "repeats": 2, "most_failed": 0.2, "pictures": pictures.sha256,
        "models": tuple(Model(name=name, weights=f"w-{name}", restorer=f"r-{name}") for name in names),
        "comparisons": tuple(comparisons),
    }  # fmt: skip
    frozen.write(folder, Manifest.model_validate(values | changed))
    return folder


def votes_of(manifest: Manifest, rater: str, number: int, first: dict[str, float], checks: bool = True) -> list[Vote]:
    """Votes on all tasks: by comparison 1 for the first, 0 for the second, 0.5 for a tie; checks are passed or not."""
    found = []
    for task in tasks_of(manifest, rater, number):
        value = float(checks) if task.kind == "check" else first[task.comparison]
        choice: Choice = "tie" if value == 0.5 else "left" if (value == 1.0) == (task.left == "first") else "right"
        found.append(
            Vote(
                rater=rater, task=task.number, comparison=task.comparison, kind=task.kind, left=task.left,
                choice=choice, time="2026-01-01T00:00:00+00:00", id=f"{rater}-{task.number:06d}",
            )
        )  # fmt: skip
    return found
