"""A study of models: their restorations of the same images, side by side."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

from components.artifacts import paths, tables
from components.artifacts.shards import decode_png
from components.backbones.loading import SavedModel, check_sizes
from components.benchmark.dataset import Prepared, Protocol, prepared
from components.benchmark.models import Named, model_of, peer_of, results_of
from components.benchmark.sets import Folders, TestSet, named
from components.errors import BadInput
from components.judge.images import EvaluationImage, EvaluationSet, ImageFolder
from components.judge.measure import Judge
from components.judge.restorers import Models, Restorer
from components.judge.rewards import rewards
from components.progress import progress
from components.prompts.writer import prompt_writer
from components.rewards.alignment import rewarded_metrics
from components.rewards.normaliser import FixedNormaliser
from components.runtime.process import resolve_device
from components.settings import Settings
from components.storage import digests
from components.storage.publish import atomic_folder
from components.study import manifest as frozen
from components.study.choosing import checks_wanted, spread
from components.study.manifest import Comparison, Manifest, Model
from components.study.pictures import Picture, Pictures

logger = logging.getLogger("dp2o.study")

SPLIT = "test"
MOST_FAILED = 0.2
QUESTION = "Which picture looks better?"


@dataclass(frozen=True)
class Design:
    """What every study has, as it was typed.

    Attributes:
        pairs: comparisons, over all pairs of models; 0 = as many as there are.
        per_rater: of these that each rater gets; 0 = all.
        checks, repeats: shares of the pairs.
        most_failed: share of failed checks above which a rater is excluded.
    """

    name: str
    question: str = QUESTION
    ties: bool = True
    pairs: int = 60
    per_rater: int = 0
    checks: float = 0.1
    repeats: float = 0.1
    most_failed: float = MOST_FAILED
    seed: int = 0


@dataclass(frozen=True)
class Images:
    """Where the images come from: the test split, a set of the field below `data`, or a folder of plain photos."""

    set_name: str = ""
    data: Path | None = None
    photos: Path | None = None
    protocol: Protocol = "crop"


@dataclass(frozen=True)
class Compared:
    """What is compared, as it was typed; `metrics` may be empty."""

    models: tuple[Named, ...]
    peers: tuple[str, ...] = ()
    results: tuple[Named, ...] = ()
    seeds: int = 1
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Arm:
    """One side of comparisons: a restorer, and the sample of it; None takes each sample in turn."""

    name: str
    restorer: Restorer
    index: int | None


def new_of_models(settings: Settings, root: Path, design: Design, images: Images, compared: Compared) -> Manifest:
    """Make studies/<name>.

    Raises:
        BadInput: it is there, nothing or one thing is compared, or images, models or metrics cannot be used.
    """
    folder = free_folder(root, design.name)
    device = resolve_device(settings.run.device)
    found = _images(settings, root, images)
    models = Models()
    own = [model_of(settings, root, one, compared.seeds, models) for one in compared.models]
    for _, saved in own:
        check_sizes(saved.backbone, found.images.rows)
    peers = [peer_of(settings, name) for name in compared.peers]
    lead = [restorer for restorer, _ in own] + peers
    arms = _arms([*lead, *(results_of(settings, one, found) for one in compared.results)], compared.seeds)
    in_turn = compared.seeds if arms[0].index is None else 1  # samples of one model are all shown at once
    chosen = _chosen(found.images, design, len(list(combinations(arms, 2))), in_turn)
    part = _part_of(found.images, chosen)
    files = [file for _, saved in own for file in saved.files]
    with Judge(settings, root, compared.metrics, device, files) as judge:
        scores = _scores(settings, root, judge, arms, part, compared.metrics) if compared.metrics else {}
        rows = {str(row["lr_id"]): row for row in part.rows}
        maker = _Maker(design, judge, arms, scores, ImageFolder(found.images.root), rows)
        facts = _facts(found, own, compared)
        with atomic_folder(folder) as new:
            manifest = maker.make(Pictures(new), chosen, facts)
            frozen.write(new, manifest)
    return manifest


def free_folder(root: Path, name: str) -> Path:
    """Where a new study goes.

    Raises:
        BadInput: something is there.
    """
    folder = frozen.folder_of(root, name)
    if folder.exists():
        raise BadInput(f"{folder} exists: a study is never changed; give another name, or remove it and its votes")
    return folder


def _images(settings: Settings, root: Path, images: Images) -> Prepared:
    if images.set_name or images.photos is not None:
        writer = prompt_writer(
            settings.prepare.prompt, settings.backbone.located(root), root, resolve_device(settings.run.device)
        )
        if images.photos is not None:
            folder = images.photos.absolute()
            title = f"photos of {folder.name}"
            which = TestSet(f"photos-{folder.name}", title, ((Folders(folder.name, ""),),), None, None, str(folder), ())
            return prepared(settings, root, which, folder.parent, images.protocol, writer, pinned=False)
        if images.data is None:
            raise BadInput("--set needs --data FOLDER, which holds the sets' folders")
        return prepared(settings, root, named(images.set_name), images.data, images.protocol, writer)
    test = EvaluationSet(root, SPLIT)
    lr_ids = [str(row["lr_id"]) for row in test.rows]
    return Prepared(test, dict(zip(lr_ids, lr_ids, strict=True)), digests.of_json(lr_ids), "crops of the test split")


def _arms(restorers: Sequence[Restorer], seeds: int) -> list[_Arm]:
    names = [restorer.name for restorer in restorers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(f"{', '.join(twice)} is named more than once: write NAME=WHAT with names of their own")
    if not restorers:
        raise BadInput("nothing is compared: give --model, --peer or --results")
    if len(restorers) > 1:
        return [_Arm(restorer.name, restorer, None) for restorer in restorers]
    if seeds < 2:
        raise BadInput(f"{names[0]} is alone: name a second model, or give --seeds 2 to compare its own samples")
    return [_Arm(f"{names[0]}, seed {seed}", restorers[0], seed) for seed in range(seeds)]


def _chosen(images: EvaluationSet, design: Design, kinds: int, seeds: int) -> list[tuple[str, int]]:
    """(lr_id, sample) that every two models are compared on; the samples take turns."""
    rows = [str(row["lr_id"]) for row in spread(images.rows, design.seed)]
    every = [(lr_id, (turn + place) % seeds) for turn in range(seeds) for place, lr_id in enumerate(rows)]
    return every[: -(-design.pairs // kinds)] if design.pairs else every


def _part_of(images: EvaluationSet, chosen: Sequence[tuple[str, int]]) -> EvaluationSet:
    wanted = {lr_id for lr_id, _ in chosen}
    part = copy.copy(images)
    part.rows = [row for row in images.rows if row["lr_id"] in wanted]
    return part


Scores = dict[tuple[str, str, int], dict[str, float]]
"""Metric values by restorer's name, lr_id and sample."""


def _scores(
    settings: Settings, root: Path, judge: Judge, arms: Sequence[_Arm], part: EvaluationSet, metrics: Sequence[str]
) -> Scores:
    """Metrics of all restorations, and their reward where the evaluation has fixed its normaliser."""
    path = root / paths.NORMALISER
    normaliser = FixedNormaliser.load(path) if path.is_file() else None
    has_hr = part.with_hr
    score = settings.score
    complete = normaliser and {*score.fr, *score.nr} <= {*metrics} & normaliser.bounds.keys()
    found: Scores = {}
    for one in judge.measure(list({arm.restorer.name: arm.restorer for arm in arms}.values()), part, metrics):
        rewarded: list[float | None] = [None] * len(one.measurements)
        if normaliser and complete and len(has_hr) == len(part):
            rewarded = rewards(one.measurements, lambda _: rewarded_metrics(score.fr, score.nr, True), normaliser)
        for row, reward in zip(one.measurements, rewarded, strict=True):
            own = dict(row.values) if reward is None else {**row.values, "reward": reward}
            found[one.name, row.lr_id, row.index] = own
    return found


@dataclass(frozen=True)
class _Maker:
    """What makes the comparisons; `rows` are the dataset's by lr_id."""

    design: Design
    judge: Judge
    arms: Sequence[_Arm]
    scores: Scores
    folder: ImageFolder
    rows: dict[str, tables.Row]

    def make(self, pictures: Pictures, chosen: Sequence[tuple[str, int]], facts: Sequence[tuple[str, str]]) -> Manifest:
        design = self.design
        comparisons: list[Comparison] = []
        alike = 0
        for lr_id, index in progress(chosen, desc="study", unit="image", total=len(chosen)):
            made, equal = self._of_image(pictures, self.folder.read(self.rows[lr_id]), index)
            comparisons += made
            alike += equal
        if design.pairs:
            comparisons = comparisons[: design.pairs]
        if not comparisons:
            raise BadInput(f"all {alike} pairs of pictures are equal, pixel by pixel: compare other models")
        if alike:
            logger.warning("%d pairs of equal pictures are left out: there is nothing to see", alike)
        lr_ids = list(dict.fromkeys(lr_id for lr_id, _ in chosen))
        checks = self._checks(pictures, lr_ids[: checks_wanted(len(comparisons), design.checks)])
        models = tuple(
            Model(name=arm.name, weights=arm.restorer.weights_digest, restorer=arm.restorer.digest) for arm in self.arms
        )
        facts = [*facts, ("pairs of equal pictures, left out", str(alike))]
        return finished(design, "models", [*comparisons, *checks], models, pictures, facts)

    def _of_image(self, pictures: Pictures, image: EvaluationImage, index: int) -> tuple[list[Comparison], int]:
        """The image's comparisons, and how many pairs are equal."""
        lr, _ = pictures.add_pixels(image.lr)
        sides = []
        for arm in self.arms:
            restored = self.judge.restored(arm.restorer, image)
            place = min(index if arm.index is None else arm.index, len(restored) - 1)
            scores = self.scores.get((arm.restorer.name, image.lr_id, place), {})
            sides.append(pictures.side(restored[place], arm.name, place, scores))
        both = list(combinations(sides, 2))
        made = [
            Comparison(id="", lr_id=image.lr_id, photo=image.photo, lr=lr, first=first, second=second)
            for first, second in both
            if first.pixels != second.pixels
        ]
        return made, len(both) - len(made)

    def _checks(self, pictures: Pictures, lr_ids: Sequence[str]) -> list[Comparison]:
        """Of the HR, or, where there is none, of the first model's restoration."""
        made = []
        for lr_id in lr_ids:
            image = self.folder.read(self.rows[lr_id])
            name = "HR" if image.hr is not None else self.arms[0].name
            pixels = decode_png(self.judge.restored(self.arms[0].restorer, image)[0]) if image.hr is None else image.hr
            made.append(check_of(pictures, lr_id, image.photo, image.lr, pixels, name))
        return made


def check_of(pictures: Pictures, lr_id: str, photo: str, lr: Picture, pixels: Picture, name: str) -> Comparison:
    """An attention check: `pixels`, called `name`, and the same blurred."""
    better, worse = pictures.check(pixels, name)
    low, _ = pictures.add_pixels(lr)
    return Comparison(id="", lr_id=lr_id, photo=photo, lr=low, first=better, second=worse, check=True)


def finished(
    design: Design,
    kind: Literal["models", "candidates"],
    comparisons: Sequence[Comparison],
    models: Sequence[Model],
    pictures: Pictures,
    facts: Sequence[tuple[str, str]],
) -> Manifest:
    """The manifest of comparisons that have no ids yet."""
    pairs = sum(not one.check for one in comparisons)
    per_rater = min(design.per_rater, pairs) or None
    return Manifest(
        name=design.name,
        kind=kind,
        created=frozen.now(),
        question=design.question,
        ties=design.ties,
        seed=design.seed,
        per_rater=per_rater,
        repeats=round(design.repeats * (per_rater or pairs)),
        most_failed=design.most_failed,
        models=tuple(models),
        comparisons=tuple(one.model_copy(update={"id": f"{place:05d}"}) for place, one in enumerate(comparisons)),
        pictures=pictures.sha256,
        facts=tuple(facts),
    )


def _facts(found: Prepared, own: Sequence[tuple[Restorer, SavedModel]], compared: Compared) -> list[tuple[str, str]]:
    facts = [("images", f"{found.protocol}; digest {found.digest[:16]}")]
    facts += [
        (
            restorer.name,
            f"{saved.backbone.family}, {saved.backbone.steps} steps, weights {restorer.weights_digest[:12]}",
        )
        for restorer, saved in own
    ]
    if len(own) > 1:
        facts.append(("noise", f"{compared.seeds} samples an image, the same noise for all models"))
    return facts
